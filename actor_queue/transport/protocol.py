"""What a port speaks, for a start that fails because it was spoken to in the wrong protocol.

A plain client of a port with TLS, and a client with TLS of a plain port, see only that the
connection ends or that nothing answers, as with a Redis that is down. So a start that fails asks
the port two questions, each with a time limit, and says what is the matter.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Literal

import anyio

from actor_queue.transport.address import Place

QUESTION_S = 0.75
"""For one question, from connecting to the first bytes of the answer."""
PLACES_ASKED_MAX = 3
"""Of a cluster's or sentinels' seeds."""

PING = b"PING\r\n"
TLS_RECORDS = (b"\x16\x03", b"\x15\x03")
"""How an answer in TLS begins: a handshake or an alert, of any version."""

Protocol = Literal["redis", "tls", "http"]


async def spoken_at(places: Iterable[Place]) -> tuple[Place, Protocol] | None:
    """The first of `places` that can be made out, and what it speaks. Takes at most
    `2 * QUESTION_S` a place; raises nothing."""
    for place in list(places)[:PLACES_ASKED_MAX]:
        spoken = await _spoken(place)
        if spoken is not None:
            return place, spoken
    return None


async def _spoken(place: Place) -> Protocol | None:
    answer = await _answer(place, PING)
    if answer.startswith((b"+", b"-")):
        return "redis"
    if answer.startswith(b"HTTP/"):
        return "http"
    if answer.startswith(TLS_RECORDS) or await speaks_tls(place):
        return "tls"
    return None


async def speaks_tls(place: Place) -> bool:
    """Whether a handshake is answered as one. Takes at most `QUESTION_S`; raises nothing."""
    return (await _answer(place, _hello())).startswith(TLS_RECORDS)


async def _answer(place: Place, question: bytes) -> bytes:
    """Its first bytes; empty if there are none in time."""
    with anyio.move_on_after(QUESTION_S):
        try:
            async with await anyio.connect_tcp(place.host, place.port) as stream:
                await stream.send(question)
                return await stream.receive(64)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            return b""
    return b""


def _hello() -> bytes:
    """The first words of a handshake. It goes no further, so no certificate is looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing)
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without an answer")
