"""How the workers of one parent answer `/metrics` as one, whichever took the connection.

    scrape ─▶ worker ──"count"──▶ parent ──"report"──▶ every worker
              worker ◀── count ── parent ◀── report ── every worker

The parent is asked, because it alone sees every worker come and go: what a worker said last is kept
when it ends, so the sums never fall, and each worker's numbers only ever get newer, so any two
scrapes agree. Nothing is written when a message passes: a report is made when it is asked for, by
a scrape and once a second, so that a worker that is killed takes at most a second of counts with
it. A worker that does not answer within `ANSWER_S` holds nobody up; its last numbers count.

The same line brings the API keys and the routes that the parent has read again, and who has signed
out.

One line of JSON is one message, over a socket pair for each worker.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from actor_queue.app.config import read_written, written
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.config_file import Config
from actor_queue.core.sessions import SignedOut
from actor_queue.http.auth import Keys
from actor_queue.http.numbers import CensusFailed, Count, Counted, Report, sums

ANSWER_S = 1.0
"""For a worker to report; one that is frozen is waited for no longer."""
NEWS_S = 5.0
"""For a worker to take what was read again: routes may be some megabytes."""
COUNT_S = 3.0
"""For the parent to answer a worker."""
REPORT_EVERY_S = 1.0
UNANSWERED_MAX = 5
"""Questions to a worker that has answered none; it is asked no more until it does."""
LINE_BYTES_MAX = 4_194_304
PIECE_BYTES = 65_536

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class _Line:
    """One end of a socket pair: lines of JSON, sent whole."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._sending = trio.Lock()

    async def send(self, within_s: float, **said: object) -> None:
        """Nothing is raised: who does not read in time, or at all, is cut off."""
        with suppress(*_GONE), trio.move_on_after(within_s) as patience:
            async with self._sending:
                await self._stream.send_all(json.dumps(said).encode() + b"\n")
        if patience.cancelled_caught:
            await trio.aclose_forcefully(self._stream)

    async def hear(self, handle: Callable[[dict[str, Any]], None]) -> None:
        """Hand over each line until the other end is gone. What is no line of ours ends it too."""
        rest = b""
        try:
            with suppress(*_GONE, ValueError):
                async for piece in self._stream:
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        said = json.loads(line)
                        if isinstance(said, dict):
                            handle(said)
                    if len(rest) > LINE_BYTES_MAX:
                        break
        finally:
            self._stream.socket.close()


class _Member:
    """A worker as the parent knows it."""

    def __init__(self, number: int, line: _Line) -> None:
        self.number = number
        self.line = line
        self.report: Report = []
        self.asked = self.answered = 0
        self.listens = False
        """It has begun to read; while it starts, its end of the pair holds little."""
        self.heard_at = trio.current_time()


class Counting:
    """The parent's side."""

    def __init__(self) -> None:
        self._members: set[_Member] = set()
        self._ended: Report = []
        self._heard = trio.Event()
        self._standing: dict[str, dict[str, Any]] = {}
        """What was read again, as the workers hear it: what they are to do, by what is said."""
        self._signed_out = SignedOut()

    async def run(self) -> None:
        """Until cancelled: what a worker said last is at most a second old."""
        while True:
            await self.count()
            await trio.sleep(REPORT_EVERY_S)

    async def attend(self, number: int, sock: socket.socket) -> None:
        """One worker, from its start until its end of the pair is closed."""
        member = _Member(number, _Line(sock))
        self._members.add(member)
        try:
            async with trio.open_nursery() as answers:
                for say in self._standing:  # its orders may be older
                    answers.start_soon(self._tell_standing, member, say)
                await member.line.hear(lambda said: self._hear(member, said, answers))
        finally:
            self._members.discard(member)
            self._ended = sums([self._ended, member.report])

    async def use_keys(self, keys: tuple[ApiKey, ...]) -> None:
        """From now on these are the API keys of all workers, also of those still to come. A worker
        that does not take the news in time is cut off, and ends for that."""
        await self._use("keys", keys=keys)

    async def use_config(self, config: Config) -> None:
        """The same for what the file of AQ_CONFIG says."""
        await self._use("config", config=written(config))

    async def _use(self, say: str, **what: Any) -> None:
        self._standing[say] = what
        async with trio.open_nursery() as telling:
            for member in self._members:
                telling.start_soon(self._tell_standing, member, say)

    async def _tell_standing(self, member: _Member, say: str) -> None:
        """What stands when this runs: an older one is never told after a newer one."""
        await member.line.send(NEWS_S, say=say, **self._standing[say])

    async def _tell_signed_out(self, member: _Member, sessions: list[tuple[str, int]]) -> None:
        await member.line.send(ANSWER_S, say="signed_out", sessions=sessions)

    async def count(self) -> Count:
        """Ask every worker and wait for those who answer."""
        members = set(self._members)
        wanted: dict[_Member, int] = {}
        async with trio.open_nursery() as asking:
            for member in members:
                if member.asked - member.answered < UNANSWERED_MAX:
                    member.asked += 1
                    asking.start_soon(self._ask, member)
                wanted[member] = member.asked
        with trio.move_on_after(ANSWER_S):
            while any(
                member in self._members and member.answered < asked
                for member, asked in wanted.items()
            ):
                await self._heard.wait()
        now = trio.current_time()
        counted = [
            Counted(
                member.number,
                member.report,
                member.answered >= wanted.get(member, 0),
                now - member.heard_at,
            )
            for member in sorted(self._members, key=lambda member: member.number)
            if member.report
        ]
        return Count(counted, self._ended)

    async def _ask(self, member: _Member) -> None:
        await member.line.send(ANSWER_S, say="report", number=member.asked)

    def _hear(self, member: _Member, said: dict[str, Any], answers: trio.Nursery) -> None:
        match said:
            case {"say": "reported", "number": int(number), "report": list(report)}:
                member.report, member.heard_at = report, trio.current_time()
                member.answered = max(member.answered, number)
                self._heard.set()
                self._heard = trio.Event()
            case {"say": "count", "number": int(number)}:
                answers.start_soon(self._answer, member, number)
            case {"say": "here"}:
                member.listens = True
                answers.start_soon(self._tell_signed_out, member, self._signed_out.all())
            case {"say": "signed_out", "sessions": [[str(nonce), int(ends_at_s)]]}:
                self._signed_out.add(nonce, ends_at_s)
                for each in self._members - {member}:
                    if each.listens:
                        answers.start_soon(self._tell_signed_out, each, [(nonce, ends_at_s)])

    async def _answer(self, member: _Member, number: int) -> None:
        count = await self.count()
        workers = [[each.worker, each.report, each.answered, each.age_s] for each in count.workers]
        await member.line.send(
            ANSWER_S, say="counted", number=number, workers=workers, ended=count.ended
        )


class Colleague:
    """A worker's side: reports when it is asked, and asks for everybody's numbers. `keys` hears of
    other API keys, and of sessions that were ended at other workers, and tells of its own;
    `use_config` hears of other routes."""

    def __init__(
        self,
        sock: socket.socket,
        report: Callable[[], Report],
        keys: Keys,
        use_config: Callable[[Config], None] = lambda config: None,
    ) -> None:
        self._line = _Line(sock)
        self._use_config = use_config
        self._report = report
        self._keys = keys
        self._waiting: dict[int, trio.MemorySendChannel[Count]] = {}
        self._numbers = 0
        self._last_asked = 0

    async def run(self) -> None:
        """Until the parent is gone."""
        async with trio.open_nursery() as answers:
            self._keys.tell_others = lambda nonce, ends_at_s: answers.start_soon(
                self._tell_signed_out, nonce, ends_at_s
            )
            answers.start_soon(self._say_here)
            await self._line.hear(lambda said: self._hear(said, answers))

    async def census(self) -> Count:
        """Everybody's numbers. Raises `CensusFailed`."""
        self._numbers += 1
        number = self._numbers
        send, receive = trio.open_memory_channel[Count](1)
        self._waiting[number] = send
        try:
            with trio.move_on_after(COUNT_S):
                await self._line.send(ANSWER_S, say="count", number=number)
                return await receive.receive()
        finally:
            del self._waiting[number]
        raise CensusFailed("the parent of the workers does not answer")

    async def say_last(self) -> None:
        """Before the end: what was counted since the last report."""
        await self._tell(self._last_asked)

    def _hear(self, said: dict[str, Any], answers: trio.Nursery) -> None:
        match said:
            case {"say": "report", "number": int(number)}:
                self._last_asked = number
                answers.start_soon(self._tell, number)
            case {"say": "keys", "keys": list(keys)}:
                self._keys.replace(ApiKey(*each) for each in keys)
            case {"say": "config", "config": dict(config)}:
                self._use_config(read_written(config))
            case {"say": "signed_out", "sessions": list(sessions)}:
                for nonce, ends_at_s in sessions:
                    self._keys.hear_signed_out(nonce, ends_at_s)
            case {"say": "counted", "number": int(number), "workers": workers, "ended": ended}:
                if number in self._waiting:
                    count = Count([Counted(*each) for each in workers], ended)
                    self._waiting[number].send_nowait(count)

    async def _say_here(self) -> None:
        await self._line.send(ANSWER_S, say="here")

    async def _tell_signed_out(self, nonce: str, ends_at_s: int) -> None:
        await self._line.send(ANSWER_S, say="signed_out", sessions=[(nonce, ends_at_s)])

    async def _tell(self, number: int) -> None:
        await self._line.send(ANSWER_S, say="reported", number=number, report=self._report())
