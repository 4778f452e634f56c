"""The bytes of one connection: a reply means what it means to coredis, and none has no end."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import trio
from coredis.exceptions import ConnectionError as RedisConnectionError
from coredis.exceptions import InvalidResponse, RedisError
from coredis.parser import Parser
from hypothesis import given, settings
from hypothesis import strategies as st

from actor_queue.transport import wire
from actor_queue.transport.wire import Command, Outline, Wire

PATIENCE_S = 5.0
ECHO = Command(b"ECHO", ("a",))


def exchanged(
    tmp_path: Path, said: Sequence[bytes], questions: int, *, ends: bool = True, for_s: float = 5.0
) -> list[object]:
    """The replies to so many questions of a server that says `said`, whatever it is asked."""

    async def main() -> list[object]:
        async with listening(tmp_path / "s", said, ends=ends) as wire:
            return await wire.exchange([ECHO] * questions, for_s)

    return trio.run(main)


@asynccontextmanager
async def listening(path: Path, said: Sequence[bytes], *, ends: bool) -> AsyncIterator[Wire]:
    await trio.Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        async def serve(peer: trio.SocketStream) -> None:
            try:
                await peer.receive_some(1)
                for piece in said:
                    await peer.send_all(piece)
                if not ends:
                    await trio.sleep_forever()
            except trio.BrokenResourceError:
                pass
            finally:
                await trio.aclose_forcefully(peer)

        async with trio.open_nursery() as nursery:
            async with await anyio.connect_unix(path) as stream:
                peer, _ = listener.accept()
                peer.setblocking(False)
                nursery.start_soon(serve, trio.SocketStream(trio.socket.from_stdlib_socket(peer)))
                yield Wire(stream)
            nursery.cancel_scope.cancel()


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


_lines = st.sampled_from([b"ERR no", b"NOSCRIPT", b"MOVED 1 a:1", b"LOADING now", b"OOM x", b""])
_scalars = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda number: b":%d\r\n" % number),
    st.binary(max_size=40).map(bulk),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"*0\r\n", b"#t\r\n", b",1.5\r\n"]),
    st.sampled_from([b"+OK\r\n", b"=7\r\ntxt:abc\r\n"]),
    _lines.map(lambda line: b"-" + line + b"\r\n"),
)


def listed(elements: Sequence[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(elements), b"".join(elements))


_values = st.recursive(_scalars, lambda inner: st.lists(inner, min_size=1, max_size=4).map(listed))


def shown(reply: object) -> object:
    """Errors compare by what they are and what they say."""
    if isinstance(reply, RedisError):
        return type(reply), str(reply)
    return [shown(each) for each in reply] if isinstance(reply, list) else reply


@settings(max_examples=60, deadline=None)
@given(st.lists(_values, min_size=1, max_size=5), st.integers(1, 50))
def test_a_reply_means_what_it_means_to_coredis(
    tmp_path_factory: pytest.TempPathFactory, said: list[bytes], piece: int
) -> None:
    data = b"".join(said)
    parser, meant = Parser(), []
    parser.feed(data)
    for _ in said:
        parsed = parser.parse()
        assert isinstance(parsed, tuple)
        meant.append(shown(parsed[1]))
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    replies = exchanged(tmp_path_factory.getbasetemp(), pieces, len(said))
    assert [shown(reply) for reply in replies] == meant


def test_who_has_a_reply_keeps_it_when_the_connection_ends(tmp_path: Path) -> None:
    first, second = exchanged(tmp_path, [bulk(b"a"), b"$3\r\nhal"], 2)
    assert first == b"a"
    assert isinstance(second, RedisConnectionError)


def test_one_reply_too_many_puts_all_in_doubt(tmp_path: Path) -> None:
    replies = exchanged(tmp_path, [bulk(b"a") * 3], 2)
    assert [type(reply) for reply in replies] == [InvalidResponse] * 2


def test_what_does_not_come_in_time_is_said_to_be_missing(tmp_path: Path) -> None:
    first, second = exchanged(tmp_path, [bulk(b"a")], 2, ends=False, for_s=0.1)
    assert first == b"a"
    assert isinstance(second, TimeoutError)


def test_an_end_is_seen_before_anything_is_sent(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path / "s", [bulk(b"a")], ends=True) as wire:
            assert not wire.is_over()
            assert await wire.exchange([ECHO], PATIENCE_S) == [b"a"]
            with trio.fail_after(PATIENCE_S):
                while not wire.is_over():
                    await trio.lowlevel.checkpoint()

    trio.run(main)


@pytest.mark.parametrize(
    "said",
    [
        [b">2\r\n+message\r\n+a\r\n", bulk(b"a")],
        [b"*1\r\n" * 10_000],
        [b"*4294967295\r\n"],
        [b"*99", b"99999\r\n"],
        [b"-MOVED nowhere\r\n", bulk(b"a")],
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [b"$-7\r\n"],
        [b":%b\r\n" % (b"9" * 5_000)],
    ],
)
def test_what_no_reply_can_be_is_taken_for_none(tmp_path: Path, said: list[bytes]) -> None:
    *_, last = exchanged(tmp_path, said, 2, ends=False)
    assert isinstance(last, InvalidResponse)


@pytest.mark.parametrize(
    ("begun", "endless"),
    [
        (b"$500000000\r\n", b"tres tigres" * 1_000),
        (b"+", b"tres tigres" * 1_000),
        (b"*999999999\r\n", b"*0\r\n" * 4_000),
        (b"*400000\r\n", b"*0\r\n" * 4_000),
        (b"*200000\r\n", bulk(b"a" * 60_000)),
    ],
)
def test_a_reply_without_an_end_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes, endless: bytes
) -> None:
    monkeypatch.setattr(wire, "REPLY_BYTES_MAX", 2**20)
    monkeypatch.setattr(wire, "REPLY_LINES_MAX", 100_000)
    (reply,) = exchanged(tmp_path, [begun, *[endless] * 4_000], 1)
    assert isinstance(reply, InvalidResponse)


@given(st.lists(st.one_of(_scalars, st.just(bulk(b"a\r\n*9999999\r\n"))), max_size=6), st.data())
def test_a_user_may_be_called_what_no_reply_can_be(said: list[bytes], data: st.DataObject) -> None:
    outline, rest = Outline(), listed(said) * 2
    while rest:
        piece = data.draw(st.integers(1, len(rest)))
        outline.look(rest[:piece])
        rest = rest[piece:]
    with pytest.raises(InvalidResponse):
        outline.look(b"*9999999\r\n")


def test_a_word_that_no_command_can_have_sends_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path / "s", [bulk(b"a")], ends=False) as wire:
            with pytest.raises(RedisConnectionError):
                await wire.exchange([ECHO, Command(b"ECHO", ("\ud800",))], PATIENCE_S)
            assert await wire.exchange([ECHO], PATIENCE_S) == [b"a"]

    trio.run(main)
