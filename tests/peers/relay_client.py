"""A client of the relay protocol, written from docs/spec/quic.md alone, over aioquic.

    relay_client.py HOST PORT CA CERT KEY < commands

Reads commands from standard input, one a line, and writes what it sees, one JSON object a line:

    connect [ALPN] [LOW-HIGH] [parameters=HEX] ID…
                                    connects, sends a HELLO for these producers (32 hex digits each)
    stream INDEX                    opens the stream of a producer
    batch INDEX ENTRY RECORD TEXT…  sends a batch of RFC 5424 messages with these bodies
    raw INDEX HEX                   writes bytes to a producer's stream
    holes SIZE                      sends a stream of so many bytes without its beginning, and with holes
    control HEX                     writes bytes to the control stream
    wait                            waits until the server has closed the connection
    close                           closes the connection
"""

import asyncio
import json
import struct
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived

HELLO, WELCOME, ACK, GOAWAY = 1, 2, 3, 4


def say(**what):
    print(json.dumps(what), flush=True)


def frame(kind, body):
    return struct.pack(">BH", kind, len(body)) + body


class Relay(QuicConnectionProtocol):
    """One connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.control = None
        self.unread = b""
        self.streams = {}
        self.gone = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.stream_id == self.control:
            self.unread += event.data
            self.read_frames()
        elif isinstance(event, ConnectionTerminated):
            say(closed=event.error_code, reason=event.reason_phrase)
            self.gone.set()

    def read_frames(self):
        while len(self.unread) >= 3:
            kind, length = struct.unpack(">BH", self.unread[:3])
            body = self.unread[3 : 3 + length]
            if len(body) < length:
                return
            self.unread = self.unread[3 + length :]
            if kind == WELCOME:
                version, size, records, count = struct.unpack(">HIIH", body[:12])
                positions = [
                    list(struct.unpack(">QI", body[at : at + 12])) for at in range(12, 12 + 12 * count, 12)
                ]
                say(welcome=positions, version=version, bytes=size, records=records)
            elif kind == ACK:
                index, entry, record = struct.unpack(">HQI", body[:14])
                say(ack=index, entry=entry, record=record)
            elif kind == GOAWAY:
                say(goaway=True)

    def hello(self, low, high, ids):
        self.control = self._quic.get_next_available_stream_id()
        body = struct.pack(">HHH", low, high, len(ids)) + b"".join(ids)
        self.write(self.control, frame(HELLO, body))

    def open(self, index):
        self.streams[index] = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self.write(self.streams[index], struct.pack(">H", index))

    def batch(self, index, entry, record, texts):
        messages = [f"<14>1 2026-11-21T05:44:01Z host relay - - - {text}".encode() for text in texts]
        body = b"".join(str(len(message)).encode() + b" " + message for message in messages)
        self.write(self.streams[index], struct.pack(">QIII", entry, record, len(messages), len(body)) + body)

    def holes(self, size):
        """Sends every second half of 100 bytes of a stream, never the first: aioquic is made to forget
        that the others are to be sent."""
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self._quic.send_stream_data(stream, bytes(size))
        pending = self._quic._streams[stream].sender._pending
        for start in range(0, size, 100):
            pending.subtract(start, start + 50)
        self.transmit()

    def write(self, stream, data):
        self._quic.send_stream_data(stream, data)
        self.transmit()


async def session(host, port, ca, cert, key, first, lines):
    """Serves commands until `close` or the end of the input."""
    words = first.split()[1:]
    alpn, low, high = "logboom/1", 1, 1
    if words and "/" in words[0]:
        alpn = words.pop(0)
    if words and "-" in words[0]:
        low, high = (int(number) for number in words.pop(0).split("-"))
    parameters = None
    if words and words[0].startswith("parameters="):
        parameters = bytes.fromhex(words.pop(0).partition("=")[2])
    configuration = QuicConfiguration(is_client=True, alpn_protocols=[alpn], idle_timeout=20)
    configuration.load_verify_locations(ca)
    configuration.load_cert_chain(cert, key)

    def create(quic, **kwargs):
        if parameters is not None:
            quic._serialize_transport_parameters = lambda: parameters
        return Relay(quic, **kwargs)

    try:
        async with connect(host, port, configuration=configuration, create_protocol=create) as relay:
            relay.hello(low, high, [bytes.fromhex(word) for word in words])
            while True:
                line = await lines.get()
                command, *words = (line or "close").split()
                if command == "close":
                    relay.close()
                    return line is not None
                if command == "wait":
                    await relay.gone.wait()
                elif command == "stream":
                    relay.open(int(words[0]))
                elif command == "batch":
                    index, entry, record = (int(word) for word in words[:3])
                    relay.batch(index, entry, record, words[3:])
                elif command == "raw":
                    relay.write(relay.streams[int(words[0])], bytes.fromhex(words[1]))
                elif command == "holes":
                    relay.holes(int(words[0]))
                elif command == "control":
                    relay.write(relay.control, bytes.fromhex(words[0]))
    except ConnectionError:
        return True


async def main():
    host, port, ca, cert, key = sys.argv[1:]
    lines = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def feed():
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line.strip())
        loop.call_soon_threadsafe(lines.put_nowait, None)

    asyncio.get_running_loop().run_in_executor(None, feed)
    while True:
        line = await lines.get()
        if line is None:
            return
        if line.startswith("connect") and not await session(host, int(port), ca, cert, key, line, lines):
            return


asyncio.run(main())
