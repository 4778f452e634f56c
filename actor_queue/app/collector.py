"""The garbage collector on a leash: its pauses must not become somebody's lateness.

A full collection walks every object; with 100,000 waiting users that stops the loop for
seconds (measured), and CPython starts one whenever memory has grown by a quarter, that is,
when it hurts most. Almost everything here dies by reference count. So young garbage is
collected in small steps all the time, and everything only while little is waiting.
"""

from __future__ import annotations

import gc

import trio

from actor_queue.runtime.engine import Engine

YOUNG_OBJECTS = 700
YOUNG_ROUNDS = 10
NEVER = 1_000_000_000
FULL_EVERY_S = 30.0
ACTORS_FEW = 2_000
"""With so few a full collection takes some milliseconds."""


async def keep_pauses_short(engine: Engine) -> None:
    """Until cancelled. What exists when this starts is taken to live as long as the process.

    Whoever starts the process may have switched the collector off until here: importing
    makes no garbage, only objects to walk over.
    """
    # No collection first: with the imports it would take 60 ms, and we serve already.
    gc.freeze()
    gc.enable()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, NEVER)
    while True:
        await trio.sleep(FULL_EVERY_S)
        if engine.actors <= ACTORS_FEW:
            gc.collect()
