"""Plain HTTP/1.1, byte for byte under the tests' control.

`http.client` sends a URL as it was handed out. Libraries that build on URL objects re-quote it, which hides what the
XMPP servers really mint; slixmpp's own upload (test_clients.py) covers that side.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import http.client
import random
import socket
import struct
import time
import urllib.parse
from typing import Literal

from xmpp import Slot

TIMEOUT = 60.0
"""Seconds without any progress on a socket."""

KIB = 1024
MIB = 1024 * KIB


@dataclasses.dataclass(frozen=True)
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def __str__(self) -> str:
        return f"{self.status}\n{self.headers}{self.body[:400]!r}"


def content(length: int) -> bytes:
    """`length` bytes in which no two places look alike, the same in every run."""
    return random.Random(length).randbytes(length)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def connect(url: str) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    assert parts.scheme == "http", url
    assert parts.hostname, url
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)


def target(url: str) -> str:
    """Everything after the authority, exactly as given."""
    return "/" + url.split("://", 1)[1].split("/", 1)[1]


def exchange(
    method: str,
    url: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    connection: http.client.HTTPConnection | None = None,
) -> Response:
    """One request; on a connection of its own unless one is given, which is then left open."""
    own = connect(url) if connection is None else None
    channel = connection or own
    assert channel is not None
    try:
        channel.request(method, target(url), body=body, headers=headers or {})
        reply = channel.getresponse()
        return Response(reply.status, reply.headers, reply.read())
    finally:
        if own:
            own.close()


async def send(
    method: str,
    url: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    connection: http.client.HTTPConnection | None = None,
) -> Response:
    """`exchange` on a thread, so that the XMPP streams go on meanwhile."""
    return await asyncio.to_thread(exchange, method, url, headers, body, connection)


def put_headers(slot: Slot) -> dict[str, str]:
    return {"Content-Type": slot.content_type, **slot.headers}


async def put(slot: Slot, body: bytes, connection: http.client.HTTPConnection | None = None) -> Response:
    return await send("PUT", slot.put_url, put_headers(slot), body, connection)


async def put_range(slot: Slot, first: int, part: bytes) -> Response:
    """Bytes `first` to `first + len(part) - 1` of the file of this slot, with the slot's own credential."""
    content_range = f"bytes {first}-{first + len(part) - 1}/{slot.length}"
    return await send("PUT", slot.put_url, {**put_headers(slot), "Content-Range": content_range}, part)


async def query_offset(slot: Slot) -> Response:
    return await send("PUT", slot.put_url, {**put_headers(slot), "Content-Range": f"bytes */{slot.length}"}, b"")


async def head(url: str) -> Response:
    return await send("HEAD", url)


async def get(url: str, headers: dict[str, str] | None = None) -> Response:
    return await send("GET", url, headers)


async def put_and_cut(slot: Slot, sent: bytes, how: Literal["closed", "reset"]) -> None:
    """Announces the whole file, sends only `sent`, then ends the connection: by FIN, or by RST half a second later."""

    def talk() -> None:
        parts = urllib.parse.urlsplit(slot.put_url)
        lines = [
            f"PUT {target(slot.put_url)} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Content-Length: {slot.length}",
            *(f"{name}: {value}" for name, value in put_headers(slot).items()),
        ]
        with socket.create_connection((parts.hostname, parts.port), TIMEOUT) as line:
            line.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
            if how == "reset":
                # What the server has not read by now is lost with the reset.
                time.sleep(0.5)
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    await asyncio.to_thread(talk)


async def settled_offset(slot: Slot, at_least: int) -> int:
    """Polls HEAD until the server reports `at_least` bytes, 10 s at most; the last offset reported."""
    deadline = time.monotonic() + 10.0
    while True:
        reply = await head(slot.get_url)
        if reply.status == 404 and time.monotonic() < deadline:
            # The cut request itself may not have reached the server yet.
            await asyncio.sleep(0.02)
            continue
        assert reply.status == 204, reply
        assert reply.headers["Upload-Length"] == str(slot.length), reply
        assert reply.headers["Cache-Control"] == "no-store", reply
        offset = int(reply.headers["Upload-Offset"])
        if offset >= at_least or time.monotonic() > deadline:
            return offset
        await asyncio.sleep(0.05)


def assert_stored(reply: Response) -> None:
    """What every XMPP client takes for success: 201, an empty body of known length, no encoding."""
    assert reply.status == 201, reply
    assert reply.headers["Content-Length"] == "0", reply
    assert reply.headers["Content-Encoding"] is None, reply
    # The Location is the URL that the client has, without its credential: no redirect, since the status is 201.
    location = reply.headers["Location"]
    assert location is not None and "?" not in location, reply
    assert reply.body == b"", reply


async def assert_comes_down(url: str, expected: bytes) -> None:
    reply = await get(url)
    assert reply.status == 200, reply
    assert reply.headers["Content-Length"] == str(len(expected)), reply
    assert reply.headers["Content-Encoding"] is None, reply
    assert sha256(reply.body) == sha256(expected)
