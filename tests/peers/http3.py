"""Posts bodies by HTTP/3 with aioquic: http3.py HOST PORT CA COUNT [CERT KEY].

Sends COUNT requests of ten lines on one connection, several at a time, and a few that are to be refused;
prints each status with the number of answers that had it.
"""

import asyncio
import collections
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class Client(QuicConnectionProtocol):
    """One connection."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.http = H3Connection(self._quic)
        self.answers = {}

    def quic_event_received(self, event):
        for one in self.http.handle_event(event):
            if isinstance(one, (HeadersReceived, DataReceived)):
                status, waiter = self.answers[one.stream_id]
                if isinstance(one, HeadersReceived):
                    status = dict(one.headers)[b":status"].decode()
                    self.answers[one.stream_id] = (status, waiter)
                if one.stream_ended and not waiter.done():
                    waiter.set_result(status)

    async def post(self, path, body, content_type, pieces=1):
        """Sends a request, its body in so many pieces; returns the status of its answer."""
        stream = self._quic.get_next_available_stream_id()
        waiter = asyncio.get_running_loop().create_future()
        self.answers[stream] = (None, waiter)
        headers = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", path.encode()),
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        self.http.send_headers(stream, headers)
        step = max(1, -(-len(body) // pieces))
        for at in range(0, max(1, len(body)), step):
            self.http.send_data(stream, body[at:at + step], at + step >= len(body))
            self.transmit()
            await asyncio.sleep(0)
        return await asyncio.wait_for(waiter, 60)


async def main():
    host, port, authority, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_REQUIRED)
    configuration.load_verify_locations(authority)
    configuration.server_name = "localhost"
    if len(sys.argv) > 5:
        configuration.load_cert_chain(sys.argv[5], sys.argv[6])
    statuses = collections.Counter()
    async with connect(host, port, configuration=configuration, create_protocol=Client) as client:
        for first in range(0, count, 10):
            numbers = range(first, min(first + 10, count))
            bodies = ["\n".join(f"request {n} line {line}" for line in range(10)) for n in numbers]
            statuses.update(await asyncio.gather(*(
                client.post("/ingest/shop", body.encode(), "text/plain", 3) for body in bodies
            )))
        for path, body, content_type in [
            ("/nowhere", b"x", "text/plain"),
            ("/ingest/shop", b"x", "image/png"),
            ("/ingest/shop", b"x" * (2 << 20), "text/plain"),
        ]:
            statuses[await client.post(path, body, content_type)] += 1
    for status in sorted(statuses):
        print(status, statuses[status])


asyncio.run(main())
