"""A ZeroMQ peer for the tests: peer.py TYPE ENDPOINT binds a socket and prints its endpoint.

Then a line on standard input is a message to send, its parts in hexadecimal between blanks ("-" is
an empty part), and what is received is printed in the same way. "flood N" sends N messages with
the numbers from 0 on in four bytes, as fast as they are taken.
"""

import struct
import sys

import zmq


def shown(parts):
    return " ".join(part.hex() or "-" for part in parts)


def read(line):
    return [b"" if word == "-" else bytes.fromhex(word) for word in line.split()]


def main():
    kind, endpoint = sys.argv[1:]
    socket = zmq.Context().socket(getattr(zmq, kind))
    # Nothing is dropped, and whoever dies does not wait for those that listened.
    socket.sndhwm = 0
    socket.linger = 0
    socket.bind(endpoint)
    print(socket.last_endpoint.decode().rstrip("\0"), flush=True)

    poller = zmq.Poller()
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    if kind != "PUB":
        poller.register(socket, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if socket in ready:
            print(shown(socket.recv_multipart()), flush=True)
        if sys.stdin.fileno() in ready:
            # Unbuffered, or lines would wait where the poller does not see them.
            line = b""
            while not line.endswith(b"\n"):
                byte = sys.stdin.buffer.raw.read(1)
                if not byte:
                    return
                line += byte
            line = line.decode()
            if line.startswith("flood "):
                for number in range(int(line.split()[1])):
                    socket.send(struct.pack(">I", number))
            else:
                socket.send_multipart(read(line))


main()
