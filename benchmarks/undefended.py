"""`python -m benchmarks.undefended serve`: the service, whose listener suffers everything.

What `defences` compares with. No pace, no deadlines, nobody who could make room, no answers for a
head alone and no turns: who is slow is waited for, and who asks is answered at once.
"""

from __future__ import annotations

from typing import Any, Final

import trio

from actor_queue.app.cli import main
from actor_queue.http.asgi import Application
from actor_queue.http.ingest import PlainIngest
from actor_queue.http.lane import Lane
from actor_queue.http.pace import Pace
from actor_queue.http.room import Room
from actor_queue.http.turns import Turns


def nothing(*_: object) -> None: ...


async def never(_: object) -> None:
    await trio.sleep_forever()


build = Application.__init__


def without_answers_for_heads(self: Application, *given: Any, **options: Any) -> None:
    build(self, *given, **options)
    self.plain = self.plain.messages  # type: ignore[assignment]


INSTEAD: Final[tuple[tuple[type, str, Any], ...]] = (
    (Pace, "begin", nothing),
    (Pace, "wait", nothing),
    (Pace, "heard", nothing),
    (Room, "enter", nothing),
    (Room, "leave", nothing),
    (Lane, "_look_at_deadlines", never),
    (Lane, "_take_turns", never),
    (PlainIngest, "is_stranger", lambda self, came: False),
    (PlainIngest, "describe", nothing),
    (Turns, "__call__", lambda self, *asked: self._app(*asked)),
    (Application, "__init__", without_answers_for_heads),
)


if __name__ == "__main__":
    for owner, name, instead in INSTEAD:
        setattr(owner, name, instead)
    main()
