"""Routes in a program: a user has a conversation on each, and every verb means one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from actor_queue import Batch, Failed, NotChanged, Refused, Settings
from actor_queue.aio import ActorQueue as AsyncioQueue
from actor_queue.testing import AsyncioMemoryQueue, MemoryQueue, run

ROUTES = ("vendas", "suporte")
ONE = Settings(shards=1)

Main = Callable[[MemoryQueue, list[tuple[str, str, list[str]]]], Awaitable[None]]


def played(main: Main, *, fails: str = "") -> None:
    """A queue with three routes, of which `fails` fails for good, and what was delivered."""
    seen: list[tuple[str, str, list[str]]] = []

    async def deliver(batch: Batch) -> object:
        seen.append((batch.route, batch.user, batch.messages))
        return Failed("no", final=True) if batch.route == fails else None

    async def story() -> None:
        async with MemoryQueue(ONE, deliver=deliver, routes=ROUTES) as queue:
            await main(queue, seen)

    run(story)


def test_a_user_has_a_conversation_on_each_route_and_each_batch_says_whose_it_is() -> None:
    async def main(queue: MemoryQueue, seen: list[tuple[str, str, list[str]]]) -> None:
        for route in (None, *ROUTES):
            kept = await queue.push("ana", f"to {route}", ttl=5, route=route)
            assert (kept.user, kept.pending) == ("ana", 1)
        page = await queue.users()
        assert {(view.user, view.route) for view in page.users} == {
            ("ana", route) for route in ("default", *ROUTES)
        }
        (only,) = (await queue.users(route="vendas")).users
        assert (only.user, only.route) == ("ana", "vendas")
        await queue.advance(5)
        assert sorted(seen) == [
            ("default", "ana", ["to None"]),
            ("suporte", "ana", ["to suporte"]),
            ("vendas", "ana", ["to vendas"]),
        ]

    played(main)


def test_each_verb_means_one_conversation_and_leaves_the_others_alone() -> None:
    async def main(queue: MemoryQueue, seen: list[tuple[str, str, list[str]]]) -> None:
        for route in ("default", "vendas"):
            for text in "abc":
                await queue.push("ana", text, ttl=60, message_id=text, route=route)
        held = await queue.hold("ana", seconds=30, route="vendas")
        assert (held.user, held.route, held.state) == ("ana", "vendas", "held")
        assert (await queue.user("ana")).state == "collecting"
        assert (await queue.release("ana", route="vendas")).state == "collecting"
        assert (await queue.typing("ana", ttl=90, route="vendas")).extended
        changed = await queue.edit("ana", "a", "A", route="vendas")
        assert changed.user == "ana"
        await queue.revoke("ana", "b", route="vendas")
        with pytest.raises(NotChanged):
            await queue.revoke("ana", "c", route="suporte")
        assert (await queue.flush("ana", route="vendas")).route == "vendas"
        await queue.advance(1)
        assert seen == [("vendas", "ana", ["A", "c"])]
        await queue.push("ana", "d", ttl=60, route="vendas")
        assert (await queue.drop("ana", route="vendas")).messages == 1
        assert (await queue.user("ana")).pending == 3

    played(main)


def test_dead_letters_are_listed_by_route_and_name_the_person() -> None:
    async def main(queue: MemoryQueue, seen: list[tuple[str, str, list[str]]]) -> None:
        for route in ("default", "vendas"):
            await queue.push("ana", "oi", ttl=0, route=route)
        await queue.advance(1)
        (letter,) = (await queue.dead()).letters
        assert (letter.user, letter.route) == ("ana", "vendas")
        assert (await queue.dead(route="suporte")).letters == ()
        read = await queue.dead_letter(letter.id)
        assert read is not None
        assert (read.user, read.route) == ("ana", "vendas")
        replayed = await queue.replay(letter.id)
        assert replayed is not None
        assert replayed.route == "vendas"

    played(main, fails="vendas")


def test_a_route_that_there_is_not_is_refused_by_name() -> None:
    async def main(queue: MemoryQueue, seen: list[tuple[str, str, list[str]]]) -> None:
        with pytest.raises(Refused, match="must be one of default, vendas, suporte") as refused:
            await queue.push("ana", "oi", route="compras")
        assert refused.value.field == "route"
        with pytest.raises(Refused, match="name of a route"):
            await queue.user("ana", route="no route")

    played(main)


@pytest.mark.parametrize("wrong", [["a b"], [""], "não", [7], ["r"] * 1_001])
def test_what_is_no_name_of_a_route_makes_no_queue(wrong: object) -> None:
    async def deliver(batch: Batch) -> None: ...

    with pytest.raises(ValueError, match="routes has"):
        MemoryQueue(ONE, deliver=deliver, routes=wrong)  # type: ignore[arg-type]
    settings = Settings(redis_url="redis://localhost")
    with pytest.raises(ValueError, match="routes has"):
        AsyncioQueue(settings, deliver=deliver, routes=wrong)  # type: ignore[arg-type]


def test_on_asyncio_it_is_the_same() -> None:
    seen: list[tuple[str, str]] = []

    async def deliver(batch: Batch) -> None:
        seen.append((batch.route, batch.user))

    async def main() -> None:
        async with AsyncioMemoryQueue(ONE, deliver=deliver, routes=ROUTES) as queue:
            for route in (None, "vendas"):
                await queue.push("ana", "oi", ttl=1, route=route)
            assert (await queue.user("ana", route="vendas")).route == "vendas"
            await queue.advance(2)

    asyncio.run(main())
    assert sorted(seen) == [("default", "ana"), ("vendas", "ana")]
