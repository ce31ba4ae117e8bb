# The application behind gunicorn.
import json
import threading
import time
import zlib

PIECE = 1 << 16
TICKS = threading.Semaphore(0)


def app(environ, start_response):
    respond = globals().get("at_" + environ["PATH_INFO"].strip("/"))
    if respond is None:
        start_response("404 Not Here", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"no\r\n"]
    return respond(environ, start_response)


def at_page(environ, start_response):
    body = b"<!doctype html><title>A page</title>"
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def at_request(environ, start_response):
    """What arrived, as JSON."""
    told = {"method": environ["REQUEST_METHOD"], "target": environ["RAW_URI"]}
    told |= {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def at_upload(environ, start_response):
    """Size and CRC-32 of the body."""
    size, crc = 0, 0
    while piece := environ["wsgi.input"].read(PIECE):
        size, crc = size + len(piece), zlib.crc32(piece, crc)
    body = f"{size} {crc:08x}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def at_download(environ, start_response):
    """A file, in chunks."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])

    def pieces():
        with open("large.bin", "rb") as file:
            while piece := file.read(PIECE):
                yield piece

    return pieces()


def at_events(environ, start_response):
    """An event at once, and one more with each tick, until there were four."""
    start_response("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")])

    def events():
        yield b"data: 0\n\n"
        for number in range(1, 4):
            TICKS.acquire()
            yield f"data: {number}\n\n".encode()

    return events()


def at_tick(environ, start_response):
    TICKS.release()
    start_response("204 No Content", [])
    return []


def at_slow(environ, start_response):
    """Takes its time over an answer of some length."""
    time.sleep(0.5)
    body = b"slow " * 20_000
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
