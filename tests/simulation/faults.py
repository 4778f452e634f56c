"""What strikes from outside: deaths, sleeps, cuts, clocks, the server's own troubles.

Faults of single calls are in `wire.py`, the receiver's in `receiver.py`. Each fault says for how
long it excuses a delay; the lengths are the contract's: a dead or sleeping owner costs the
lease's time and a second.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from tests.simulation.history import Noted, Stepped

if TYPE_CHECKING:
    from tests.simulation.replica import Replica
    from tests.simulation.world import World

PERIOD_S = 3.0
"""Between two strikes of a fault at rate 1, on average."""
TOGETHER_SHARE = 0.4
"""Of the graceful stops that all replicas but one get at the same time."""
REQUEST_S_MAX = 3.0
"""A request may be under way for so long when its replica is told to stop."""
FILLED_PAST = 0.7
"""Others take at the most such a part of the reserve: there is always room for what messages need
that were sent before anybody noticed."""
BOUNDARIES_MAX = 40
"""A fault that strikes midway does so within this many calls, answers and attempts."""


class Nemesis:
    """Strikes at random until the chaos ends."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._frozen: list[Replica] = []
        self._late: dict[str, tuple[Replica, Callable[[], None]]] = {}
        """By a batch's id: whose ack of it has to come late, and what lets it go."""

    def start(self, nursery: trio.Nursery) -> None:
        strikes: dict[str, Callable[[random.Random], None]] = {
            "crash": self._crash,
            "crash_midway": self._crash_midway,
            "pause": self._pause,
            "pause_midway": self._pause_midway,
            "rolling": self._roll,
            "cut": self._cut,
            "skew": self._skew,
            "server_clock": self._set_server_clock,
            "outage": self._outage,
            "rollback": self._rollback,
        }
        for fault, strike in strikes.items():
            if self.world.plan.has(fault):
                nursery.start_soon(self._now_and_then, fault, strike)
        if self.world.plan.maxmemory:
            nursery.start_soon(self._fill_now_and_then)

    async def _now_and_then(self, fault: str, strike: Callable[[random.Random], None]) -> None:
        chance = self.world.dice.stream(f"nemesis {fault}")
        while True:
            await trio.sleep(chance.expovariate(self.world.plan.rate(fault) / PERIOD_S))
            strike(chance)

    def heal(self) -> None:
        """Everything that lasts is over."""
        self._late.clear()
        for replica in self.world.replicas:
            replica.wire.cut = False
            replica.wire.reconnect()
            replica.skew(1.0, 0.0)
            replica.after_boundaries(0, lambda: None)
        for replica in self._frozen:
            replica.thaw()
        if self.world.away:
            self.world.come_back()
        self.world.fill(None)

    # Processes

    def _victim(self, chance: random.Random) -> Replica | None:
        living = [replica for replica in self.world.replicas if not replica.dead]
        return chance.choice(living) if living else None

    def _crash(self, chance: random.Random) -> None:
        if victim := self._victim(chance):
            self._kill(victim)

    def _crash_midway(self, chance: random.Random) -> None:
        if victim := self._victim(chance):
            self.kill_midway(victim, chance.randint(1, BOUNDARIES_MAX))

    def kill_midway(self, victim: Replica, boundaries: int) -> None:
        """After so many calls, answers and attempts from now on."""
        victim.after_boundaries(boundaries, partial(self._kill, victim))

    def _kill(self, victim: Replica) -> None:
        self._note(f"kill {victim.name}")
        self.world.trouble(self.world.lease_s + 1, "a replica was killed")
        victim.kill()

    def _pause(self, chance: random.Random) -> None:
        if victim := self._victim(chance):
            self._freeze(victim, chance.uniform(0.5, 3) * self.world.lease_s)

    def _pause_midway(self, chance: random.Random) -> None:
        if victim := self._victim(chance):
            seconds = chance.uniform(0.5, 3) * self.world.lease_s
            victim.after_boundaries(
                chance.randint(1, BOUNDARIES_MAX), partial(self._freeze, victim, seconds)
            )

    def _freeze(self, victim: Replica, seconds: float) -> None:
        if victim in self._frozen or victim.dead:
            return
        self._note(f"freeze {victim.name} for {seconds:.3f} s")
        self.world.trouble(max(seconds, self.world.lease_s) + 1, "a replica was frozen")
        self._frozen.append(victim)
        victim.freeze()

        def thaw() -> None:
            self._note(f"thaw {victim.name}")
            self._frozen.remove(victim)
            victim.thaw()

        self.world.agenda.after(seconds, thaw)

    def _roll(self, chance: random.Random) -> None:
        """A graceful stop; the successor comes up a moment later. No delay is excused.

        Sometimes of several at once, as of the workers of one parent; never of the last one that
        serves: nobody could take over from it.
        """
        serving = [each for each in self.world.replicas if each.serving]
        awake = [each for each in serving if each not in self._frozen]
        most = len(awake) - 1 if chance.random() < TOGETHER_SHARE else min(1, len(awake) - 1)
        for victim in chance.sample(awake, max(0, most)):
            self._note(f"stop {victim.name}")
            victim.stop(chance.choice((0, 0, chance.uniform(0, REQUEST_S_MAX))))

    # Roads

    def _cut(self, chance: random.Random) -> None:
        """One replica loses the server, and does not know it at first."""
        victim = self._victim(chance)
        if victim is None or victim.wire.cut:
            return
        seconds = chance.uniform(0.1, 3 * self.world.lease_s)
        self._note(f"cut off {victim.name} for {seconds:.3f} s")
        # A call that got no answer is given up after two seconds.
        self.world.trouble(max(seconds + 2.5, self.world.lease_s) + 1, "a replica was cut off")
        victim.wire.cut = True

        def mend() -> None:
            victim.wire.cut = False
            victim.wire.reconnect()

        self.world.agenda.after(seconds, mend)

    def hold_ack(self, victim: Replica, batch_id: str, limit_s: float) -> None:
        """The receiver has taken a batch; the replica loses the server before it can say so. It has
        it back when its heir makes the next attempt, or when no heir can be waited for any more.
        """
        if victim.wire.cut or victim.dead:
            return
        seconds = limit_s + self.world.lease_s + 2
        self._note(f"{victim.name} is cut off with the ack of {batch_id}")
        self.world.trouble(seconds + self.world.lease_s + 4, "an ack came late")
        victim.wire.cut = True

        def mend() -> None:
            if self._late.get(batch_id, (None, mend))[1] is mend and victim.wire.cut:
                self._late.pop(batch_id, None)
                victim.wire.cut = False
                # What it sends is not kept waiting by what got no answer.
                victim.wire.break_all()

        self._late[batch_id] = victim, mend
        self.world.agenda.after(seconds, mend)

    def ack_comes(self, replica: Replica, batch_id: str, after_s: float) -> bool:
        """Another attempt at the batch has begun: an ack that is held comes `after_s` from now.
        Whether there is one."""
        victim, mend = self._late.get(batch_id, (replica, None))
        if victim is replica or mend is None:
            return False
        self.world.agenda.after(after_s, mend)
        return True

    # Clocks

    def _skew(self, chance: random.Random) -> None:
        if victim := self._victim(chance):
            rate = chance.uniform(0.95, 1.05)
            step_s = chance.choice((0, 0, -1, 1)) * chance.uniform(0.1, 1) * self.world.lease_s
            self._note(f"the clock of {victim.name} goes by {rate:.3f} after {step_s:.3f} s")
            self.world.trouble(self.world.lease_s + abs(step_s), "a trust clock was set")
            victim.skew(rate, step_s)

    def _set_server_clock(self, chance: random.Random) -> None:
        by_ms = chance.choice((-1, 1)) * chance.randint(10, 2_000)
        self.world.offset_ms += by_ms
        self.world.history.note(Stepped(trio.current_time(), by_ms))
        excused_s = abs(by_ms) / 1000 + self.world.lease_s + 1
        self.world.trouble(excused_s, "the server's clock was set")

    # The server

    def _outage(self, chance: random.Random) -> None:
        if self.world.away:
            return
        seconds = chance.uniform(0.1, 4)
        self._note(f"the server is away for {seconds:.3f} s")
        self.world.trouble(seconds + 2, "the server was away")
        self.world.go_away()
        self.world.agenda.after(seconds, self.world.come_back)

    def _rollback(self, chance: random.Random) -> None:
        if self.world.away:
            return
        forget_s, away_s = chance.uniform(0.01, 1.5), chance.uniform(0.05, 1)
        self._note(f"the server dies in {forget_s:.3f} s and forgets what it does until then")
        excused_s = forget_s + away_s + self.world.lease_s + 2
        self.world.trouble(excused_s, "the server was restarted")
        self.world.restart(forget_s, away_s)

    async def _fill_now_and_then(self) -> None:
        """Somebody else's data take the memory up to about the reserve, and go away again. It is no
        excuse for a delay."""
        chance = self.world.dice.stream("nemesis memory")
        reserve = self.world.plan.settings.redis_reserve_bytes or 0
        while True:
            await trio.sleep(chance.expovariate(1 / PERIOD_S))
            self.world.fill(round(chance.uniform(-FILLED_PAST, 1 - FILLED_PAST) * reserve))
            await trio.sleep(chance.uniform(1, 6))
            self.world.fill(None)

    def _note(self, what: str) -> None:
        self.world.history.note(Noted(trio.current_time(), what))
