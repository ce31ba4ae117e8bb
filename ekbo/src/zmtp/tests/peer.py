"""A ZeroMQ peer for the tests: peer.py TYPE ENDPOINT binds a socket and prints its endpoint.

Then a line on standard input is a message to send, its parts in hexadecimal between blanks ("-" is
an empty part), and what is received is printed in the same way. "flood N" sends N messages with
the numbers from 0 on in four bytes, as fast as they are taken.
"""

import os
import struct
import sys

import zmq


def main():
    kind, endpoint = sys.argv[1:]
    socket = zmq.Context().socket(getattr(zmq, kind))
    # Nothing is dropped, and whoever dies does not wait for those that listened.
    socket.sndhwm = 0
    socket.linger = 0
    socket.bind(endpoint)
    print(socket.last_endpoint.decode().rstrip("\0"), flush=True)

    poller = zmq.Poller()
    poller.register(0, zmq.POLLIN)
    poller.register(socket, zmq.POLLIN)
    orders = bytearray()
    while True:
        ready = dict(poller.poll())
        if socket in ready:
            print(shown(socket.recv_multipart()), flush=True)
        if 0 in ready:
            read = os.read(0, 1 << 20)
            if not read:
                return
            orders += read
            if b"\n" in read:
                *lines, rest = orders.decode().split("\n")
                orders = bytearray(rest.encode())
                for line in lines:
                    obey(socket, line)


def obey(socket, line):
    if line.startswith("flood "):
        for number in range(int(line.split()[1])):
            socket.send(struct.pack(">I", number))
    else:
        parts = [b"" if word == "-" else bytes.fromhex(word) for word in line.split()]
        socket.send_multipart(parts)


def shown(parts):
    return " ".join(part.hex() or "-" for part in parts)


main()
