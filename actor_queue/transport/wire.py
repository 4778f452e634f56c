"""The bytes of a greeted connection: one write for a group of calls, one reader of its replies.

coredis makes the connection: addresses, TLS, passwords, the number of the database. Afterwards it
would have a task that reads and a task that writes, and a call passes each on its way; together
they cost a third as much as all else that the service does for a message. A pipe asks and waits,
nothing else happens on its connection, so the pipe itself writes and reads here. hiredis makes the
bytes of a call and takes those of its replies apart, in C.

hiredis keeps whatever a server sends until a reply is whole, and makes a list as long as its header
says before the first element is there. So `Outline` looks at the data before hiredis does, and the
limits of `bounded.py` hold here too.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import anyio
import hiredis
from anyio.abc import ByteStream, SocketAttribute
from coredis.exceptions import ConnectionError as RedisConnectionError
from coredis.exceptions import InvalidResponse
from coredis.parser import Parser

from actor_queue.transport.bounded import LINE_BYTES_MAX, REPLY_BYTES_MAX, REPLY_LINES_MAX, TOO_MUCH
from actor_queue.transport.runner import Word

READ_BYTES_MAX: Final = 65_536
ENDED: Final = (
    anyio.EndOfStream,
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
    OSError,
)
"""How a stream says that there is nothing more to be had from it."""

_PEER_IS_GONE: Final = getattr(select, "POLLRDHUP", select.POLLHUP)
_pack: Final[Callable[[tuple[Word, ...]], bytes]] = hiredis.pack_command  # type: ignore[assignment]
_MORE: Final = object()
"""What hiredis answers while a reply is not whole."""
_error_of: Final = Parser().parse_error
"""An error line becomes the exception that it would become in coredis."""


class Command(NamedTuple):
    """What is sent, and what coredis asks of a command in a batch."""

    name: bytes
    serialized_arguments: tuple[Word, ...]
    decode: bool = False
    source: str | None = None
    """Of the script that this runs: what is loaded when the server says that it knows no such."""


class Wire:
    """Of one stream that nobody else reads from or writes to. One exchange goes on at a time."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=_error_of, notEnoughData=_MORE
        )
        self._outline = Outline()
        self._reply_bytes = self._reply_lines = 0
        self._hang_ups = select.poll()
        raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  # no database query
        self._hang_ups.register(raw.fileno(), _PEER_IS_GONE)

    def is_over(self) -> bool:
        """Whether the server has ended the connection: what would be sent now would be lost."""
        return bool(self._hang_ups.poll(0))

    async def exchange(self, commands: Sequence[Command], timeout_s: float) -> list[object]:
        """A reply for each command, in order; for those that have none, why they have none.

        Raises `RedisConnectionError` if nothing was sent. When a reply is missing the stream is of
        no use any more.
        """
        data = _packed(commands)
        replies: list[object] = []
        wanted = len(commands)
        failure: Exception | None = None
        try:
            with anyio.fail_after(timeout_s):
                await self._stream.send(data)
                while len(replies) < wanted:
                    self._take(await self._stream.receive(READ_BYTES_MAX), replies, wanted)
        except (TimeoutError, InvalidResponse) as error:
            failure = error
        except ENDED as error:
            failure = RedisConnectionError("the connection ended before its replies")
            failure.__cause__ = error
        return replies + [failure] * (wanted - len(replies))

    def _take(self, data: bytes, replies: list[object], wanted: int) -> None:
        """Add the replies that are whole now. Raises `InvalidResponse`, also for one too many."""
        self._reply_bytes += len(data)
        if self._reply_bytes > LINE_BYTES_MAX:
            self._reply_lines += data.count(b"\n")
            if self._reply_bytes > REPLY_BYTES_MAX or self._reply_lines > REPLY_LINES_MAX:
                raise InvalidResponse(TOO_MUCH)
        self._outline.look(data)
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                replies.append(reply)
                self._reply_bytes = self._reply_lines = 0
        except InvalidResponse:
            raise
        except Exception as error:  # whatever hiredis stumbles on
            raise InvalidResponse("what comes is no reply") from error
        if len(replies) > wanted:
            replies.clear()  # there is one too many, and nobody knows which
            raise InvalidResponse(TOO_MUCH)


class Outline:
    """Where the lines of replies are, and that none is longer than a line of ours can be.

    What is in a text is not looked at: a user may be called `*999999999`.
    """

    _USUAL = re.compile(rb"(?:[*%~][0-9]{1,6}\r\n|:-?[0-9]{1,19}\r\n)*+")
    """The numbers, and the beginnings of lists, of which nothing needs to be known."""
    _TEXT = re.compile(rb"[$=]([0-9]{1,9})\r\n")
    _LIST = re.compile(rb"[*%~>|][^-]")
    """Where it is not usual: too long, or a message that nobody asked for."""

    def __init__(self) -> None:
        self._begun = b""
        """Of a line, without its end."""
        self._text_bytes = 0
        """How much of a text is still to come, with its end."""

    def look(self, data: bytes) -> None:
        """At what comes next. Raises `InvalidResponse`."""
        at = self._text_bytes
        if self._begun:
            data = self._begun + data
            self._begun = b""
        while at < len(data):
            if usual := self._USUAL.match(data, at):
                at = usual.end()
            if text := self._TEXT.match(data, at):
                at = text.end() + int(text[1]) + 2
                continue
            end = data.find(b"\n", at, at + LINE_BYTES_MAX)
            if self._LIST.match(data, at) and end >= 0:
                raise InvalidResponse(TOO_MUCH)
            if end < 0:
                self._begun = data[at:]
                at = len(data)
                if len(self._begun) >= LINE_BYTES_MAX:
                    raise InvalidResponse(TOO_MUCH)
            else:
                at = end + 1
        self._text_bytes = at - len(data)


def _packed(commands: Sequence[Command]) -> bytes:
    """As they are sent. Raises `RedisConnectionError` for a word that is none."""
    try:
        return b"".join([_pack((name, *words)) for name, words, _, _ in commands])
    except (TypeError, ValueError) as error:
        raise RedisConnectionError("there is something that no command can have") from error
