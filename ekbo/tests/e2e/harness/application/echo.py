# Echoes WebSocket messages, at the port or unix socket named.
import asyncio
import sys

import websockets


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main(address):
    options = {"max_size": None, "subprotocols": ["other"]}
    if address.startswith("/"):
        server = websockets.unix_serve(echo, address, **options)
    else:
        server = websockets.serve(echo, "127.0.0.1", int(address), **options)
    async with server:
        await asyncio.Future()


asyncio.run(main(sys.argv[1]))
