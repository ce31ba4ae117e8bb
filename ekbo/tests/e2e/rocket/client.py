"""A client of Rocket, written from the protocol's description: two people on a channel.

    client.py URL SECRET_TO_READ SECRET_TO_WRITE

Prints a line for each step that went as described, and fails at the first that did not.
"""

import asyncio
import json
import sys

import websockets


class Hub:
    """A connection to a hub. Answers come in the order of the requests, and broadcasts between
    them; those are kept until somebody asks."""

    def __init__(self, socket):
        self.socket = socket
        self.broadcasts = []

    async def ask(self, event, payload):
        await self.socket.send(json.dumps({event: payload}))
        while True:
            told = json.loads(await self.socket.recv())
            if set(told) in ({"ok"}, {"err"}) and told.get("ok", True) is True:
                return told.get("err", "ok")
            self.broadcasts.append(told)

    async def broadcast(self):
        if self.broadcasts:
            return self.broadcasts.pop(0)
        return json.loads(await self.socket.recv())

    async def auth(self, access, secret):
        return await self.ask("auth", {"access": access, "secret": secret})


def step(name, got, wanted="ok"):
    assert got == wanted, f"{name}: {got!r} instead of {wanted!r}"
    print(name)


async def converse(url, read, write):
    async with websockets.connect(url, subprotocols=["ws"]) as one, websockets.connect(url) as two:
        assert one.subprotocol == "ws" and two.subprotocol is None
        reader, writer = Hub(one), Hub(two)
        step("not yet", await reader.ask("subscribe", {"channel": "news"}), "access_denied")
        step("no data", await reader.ask("auth", True), "invalid_data")
        step("wrong secret", await reader.auth("read-only", write), "invalid_credentials")
        step("reader is in", await reader.auth("read-only", read))
        step("no name", await reader.ask("subscribe", {"channel": ""}), "invalid_channel_name")
        step("reader listens", await reader.ask("subscribe", {"channel": "news"}))
        step("writer is in", await writer.auth("read-write", write))
        nobody = {"event": "hello", "channel": "nobody's", "data": 1}
        step("nobody there", await writer.ask("publish", nobody), "invalid_channel")

        story = {"event": "story", "channel": "news", "data": {"text": "grüße", "n": [1, 2.5]}, "by": 7}
        step("published", await writer.ask("publish", story))
        step("the reader has it", await reader.broadcast(), story)
        step("the writer has not", writer.broadcasts, [])
        step("reading is not writing", await reader.ask("publish", story), "access_denied")

        step("writer listens", await writer.ask("subscribe", {"channel": "news"}))
        step("published again", await writer.ask("publish", story))
        step("its own copy came first", writer.broadcasts, [story])
        step("the reader has it, too", await reader.broadcast(), story)

        step("reader listens no more", await reader.ask("unsubscribe", {"channel": "news"}))
        step("writer is out", await writer.ask("logout", True))
        step("and may not write", await writer.ask("publish", story), "access_denied")
        step("reader goes", await reader.ask("disconnect", True))
        try:
            await one.recv()
        except websockets.ConnectionClosed as closed:
            step("closed", closed.rcvd.code, 1000)


asyncio.run(asyncio.wait_for(converse(*sys.argv[1:]), 60))
