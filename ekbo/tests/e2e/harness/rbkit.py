"""The profiler rbkit, as its peers see it: REP for commands, PUB for what it publishes.

What it says is fixed: the same commands bring the same bytes, timestamps and ids included. Lines on
standard input tell it what to do besides, and each is answered by a line of JSON, {"done": LINE};
what happens is reported in further lines. With `record DIRECTORY` as its arguments it writes files
of the kinds and sizes that its published messages have, and ends.
"""

import argparse
import json
import os
import sys
import time

import msgpack
import zmq

# Keys of event maps.
EVENT_TYPE, TIMESTAMP, PAYLOAD, OBJECT_ID, CLASS_NAME, REFERENCES, FILE, LINE, SIZE = range(9)
COUNTER, CORRELATION_ID, OBJECTS_IN_ALL, METHOD, LABEL, SINGLETON, THREAD_ID = range(9, 16)

# Types of events.
OBJ_CREATED, OBJ_DESTROYED, GC_START, GC_END_M, GC_END_S = range(5)
OBJECT_SPACE_DUMP, GC_STATS, EVENT_COLLECTION, HANDSHAKE, CPU_SAMPLE = range(5, 10)

THEN = 1407528865806.0  # the time it always is
FIRST_OBJECT = 0x7F8A_5C00_0000
OBJECTS_IN_A_PIECE = 1000

# So many messages of a load go out before commands are looked at again.
MESSAGES_IN_A_BURST = 200

STATS = (
    "count minor_gc_count major_gc_count heap_allocated_pages heap_eden_pages heap_tomb_pages "
    "heap_allocatable_pages heap_sorted_length heap_live_slots heap_free_slots heap_final_slots "
    "heap_swept_slots old_objects old_objects_limit total_allocated_objects total_freed_objects "
    "malloc_increase_bytes malloc_increase_bytes_limit oldmalloc_increase_bytes "
    "oldmalloc_increase_bytes_limit remembered_wb_unprotected_objects "
    "remembered_wb_unprotected_objects_limit total_heap_size total_memsize"
).split()


def pack(value):
    """MessagePack as old builds write it: texts in the raw family, no str8, no bin."""
    return msgpack.packb(value, use_bin_type=False)


def event(kind, payload=None):
    members = {EVENT_TYPE: kind, TIMESTAMP: THEN}
    if payload is not None:
        members[PAYLOAD] = payload
    return members


def collection(number, events):
    return {EVENT_TYPE: EVENT_COLLECTION, TIMESTAMP: THEN, COUNTER: number, PAYLOAD: events}


def object_id(number):
    return FIRST_OBJECT + 40 * number


def created(number):
    class_name = None if number % 10 == 9 else ("String", "Array", "Hash", "Proc")[number % 4]
    return event(OBJ_CREATED, {OBJECT_ID: object_id(number), CLASS_NAME: class_name})


def destroyed(number):
    return event(OBJ_DESTROYED, {OBJECT_ID: object_id(number)})


def gc_stats():
    """Numbers, one that this Ruby does not know and one that is huge."""
    values = {name: 1000 * place for place, name in enumerate(STATS)}
    return event(GC_STATS, {**values, "heap_swept_slots": "", "total_memsize": str(1 << 70)})


def cpu_sample(depth=3):
    frames = [
        {
            METHOD: f"method_{level}" if level % 4 else None,
            LABEL: f"block in method_{level}",
            FILE: f"/srv/app/lib/file_{level}.rb",
            LINE: 10 + level,
            SINGLETON: level % 2,
            THREAD_ID: object_id(0),
        }
        for level in range(depth)
    ]
    return event(CPU_SAMPLE, frames)


def dump(correlation, objects, references=2):
    """The pieces of a heap dump: up to 1000 objects each, and how many there are in all."""

    def heap_object(number):
        is_known = number % 5 != 0
        return {
            OBJECT_ID: object_id(number),
            CLASS_NAME: "String" if is_known else None,
            REFERENCES: [object_id(number + step) for step in range(1, references + 1)],
            FILE: f"/srv/app/app/models/model_{number % 7}.rb" if is_known else None,
            LINE: number % 300 if is_known else None,
            SIZE: 40 * (number % 20) if is_known else None,
        }

    for first in range(0, objects, OBJECTS_IN_A_PIECE):
        numbers = range(first, min(first + OBJECTS_IN_A_PIECE, objects))
        piece = event(OBJECT_SPACE_DUMP, [heap_object(number) for number in numbers])
        yield {**piece, CORRELATION_ID: correlation, OBJECTS_IN_ALL: objects}


class Rbkit:
    def __init__(self, options):
        self.options = options
        self.context = zmq.Context()
        self.requests = self.context.socket(zmq.REP)
        self.publisher = self.context.socket(zmq.PUB if options.plain_pub else zmq.XPUB)
        # Nothing is lost here, so that what reaches nobody was lost elsewhere.
        self.publisher.set(zmq.SNDHWM, 0)
        if not options.plain_pub:
            self.publisher.set(zmq.XPUB_VERBOSER, 1)
        self.publisher.bind(options.publish)
        self.requests.bind(options.request)

        self.is_tracing = self.is_sampling = False
        self.clock = "cpu"
        self.counter = 0
        self.dumps = 0
        self.ticks = 0
        self.next_tick = self.next_stats = None
        # Replies: how long they take, none at all while muted, and the one not yet given.
        self.delay = 0
        self.is_muted = False
        self.reply = None
        self.reply_due = 0
        # A load: messages per second, the message, how many, since when, how many already.
        self.load = None
        self.dies_after = None

    def run(self):
        self.report(
            request=self.requests.get(zmq.LAST_ENDPOINT).decode(),
            publish=self.publisher.get(zmq.LAST_ENDPOINT).decode(),
        )
        lines = b""
        poller = zmq.Poller()
        poller.register(sys.stdin.fileno(), zmq.POLLIN)
        poller.register(self.requests, zmq.POLLIN)
        if not self.options.plain_pub:
            poller.register(self.publisher, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(self.milliseconds_to_wait()))
            if self.publisher in ready:
                change = self.publisher.recv()
                kind = "subscribed" if change[:1] == b"\x01" else "unsubscribed"
                self.report(**{kind: change[1:].decode("latin-1")})
            if self.requests in ready:
                self.take_command(self.requests.recv())
            if sys.stdin.fileno() in ready:
                piece = os.read(sys.stdin.fileno(), 1 << 16)
                if not piece:
                    return
                *whole, lines = (lines + piece).split(b"\n")
                for line in whole:
                    self.obey(line.decode())
            self.do_what_is_due()

    def milliseconds_to_wait(self):
        moments = [self.next_tick, self.next_stats]
        if self.reply is not None and not self.is_muted:
            moments.append(self.reply_due)
        if self.load:
            rate, _, _, since, sent = self.load
            moments.append(since + sent / rate)
        moments = [moment for moment in moments if moment is not None]
        if not moments:
            return None
        return max(0, int((min(moments) - time.monotonic()) * 1000))

    def do_what_is_due(self):
        now = time.monotonic()
        if self.reply is not None and not self.is_muted and now >= self.reply_due:
            self.requests.send(self.reply)
            self.reply = None
        if self.next_tick is not None and now >= self.next_tick:
            self.next_tick = now + self.options.tick / 1000
            self.tick()
        if self.next_stats is not None and now >= self.next_stats:
            self.next_stats = now + self.options.stats / 1000
            self.publish([gc_stats()])
        if self.load:
            rate, filler, count, since, sent = self.load
            due = min(count, int((now - since) * rate) + 1, sent + MESSAGES_IN_A_BURST)
            for number in range(sent, due):
                self.send([b"%08d" % number + filler])
            self.load = (rate, filler, count, since, due) if due < count else None
            if not self.load:
                self.report(loaded=count, seconds=time.monotonic() - since)

    # Commands.

    def take_command(self, received):
        self.report(command=received.decode("latin-1"))
        if not received:
            # This is the original's fault: without a reply its socket takes no more commands.
            return
        command = received.split(b"\0")[0].decode("latin-1")
        self.reply = self.perform(command)
        self.reply_due = time.monotonic() + self.delay

    def perform(self, command):
        if command == "handshake":
            return pack(event(HANDSHAKE, self.told_in_handshake()))
        if command == "start_memory_profile":
            self.is_tracing = True
        elif command == "stop_memory_profile":
            self.is_tracing = False
        elif command == "start_cpu_profiling":
            self.is_sampling = True
        elif command == "stop_cpu_profiling":
            self.is_sampling = False
        elif command == "use_cpu_time":
            self.clock = "cpu"
        elif command == "use_wall_time":
            self.clock = "wall"
        elif command == "objectspace_snapshot":
            self.dumps += 1
            for piece in dump(self.dumps, self.options.objects):
                self.publish([piece])
        elif command == "trigger_gc":
            self.publish([event(kind) for kind in (GC_START, GC_END_M, GC_END_S)])
        elif self.options.echo:
            return command.encode("latin-1")
        self.set_clocks()
        return b"ok"

    def told_in_handshake(self):
        return {
            "rbkit_server_version": "0.1.10",
            "rbkit_protocol_version": "2.1",
            "process_name": "rails server",
            "pwd": "/srv/app",
            "pid": 4711,
            "object_trace_enabled": int(self.is_tracing),
            "cpu_profiling_enabled": int(self.is_sampling),
            "clock_type": self.clock,
            "cpu_profiling_mode": "sampling",
        }

    def set_clocks(self):
        now = time.monotonic()
        if not (self.is_tracing or self.is_sampling):
            self.next_tick = None
        elif self.next_tick is None:
            self.next_tick = now + self.options.tick / 1000
        if not self.is_tracing:
            self.next_stats = None
        elif self.next_stats is None:
            self.next_stats = now + self.options.stats / 1000

    # What is published.

    def tick(self):
        """One object more and one less, and now and then a collection of garbage."""
        events = []
        if self.is_tracing:
            events += [created(self.ticks), created(self.ticks + 1), destroyed(self.ticks)]
            if self.ticks % 3 == 0:
                events += [event(GC_START), event(GC_END_M), event(GC_END_S)]
        if self.is_sampling:
            events.append(cpu_sample())
        self.ticks += 1
        self.publish(events)

    def publish(self, events):
        self.send([pack(collection(self.counter, events))])
        self.counter += 1

    def send(self, parts):
        self.publisher.send_multipart(parts)
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after == 0:
                # What has been said still goes out.
                self.context.destroy(linger=2000)
                os._exit(0)

    # Standard input and output.

    def obey(self, line):
        word, *arguments = line.split(" ")
        if word == "publish":
            self.publish([created(self.counter)])
        elif word == "message":
            self.send([bytes.fromhex(part) for part in arguments])
        elif word == "file":
            with open(arguments[0], "rb") as file:
                self.send([file.read()])
        elif word == "load":
            rate, size, count = map(int, arguments)
            self.load = (rate, b"." * (size - 8), count, time.monotonic(), 0)
        elif word == "delay":
            self.delay = int(arguments[0]) / 1000
        elif word == "mute":
            self.is_muted = True
        elif word == "unmute":
            self.is_muted = False
        elif word == "report":
            pass
        elif word == "die_after":
            self.dies_after = int(arguments[0])
        else:
            raise ValueError(line)
        self.report(done=line)

    @staticmethod
    def report(**what):
        print(json.dumps(what), flush=True)


def record(directory):
    """Writes one file for each kind of message."""
    recordings = {
        "gc_start": [event(GC_START)],
        "gc_stats": [gc_stats()],
        "obj_created": [created(number) for number in range(100)],
        "obj_destroyed": [destroyed(number) for number in range(100)],
        "object_dump": list(dump(1, 1000, references=80)),
        "split_dump": list(dump(1, 50_000)),
        "cpu_sample": [cpu_sample(depth=40)],
    }
    for name, events in recordings.items():
        with open(os.path.join(directory, name), "wb") as file:
            file.write(pack(collection(0, events)))


def main():
    if sys.argv[1:2] == ["record"]:
        record(sys.argv[2])
        return
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--request", default="tcp://127.0.0.1:*", help="endpoint of REP")
    arguments.add_argument("--publish", default="tcp://127.0.0.1:*", help="endpoint of PUB")
    arguments.add_argument("--tick", type=int, default=1000, help="ms between collections")
    arguments.add_argument("--stats", type=int, default=5000, help="ms between gc_stats")
    arguments.add_argument("--objects", type=int, default=2500, help="objects in a heap dump")
    arguments.add_argument("--echo", action="store_true", help="unknown words come back")
    arguments.add_argument(
        "--plain-pub", action="store_true", help="PUB, which cannot report subscriptions, not XPUB"
    )
    Rbkit(arguments.parse_args()).run()


main()
