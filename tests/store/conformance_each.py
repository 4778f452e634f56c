"""What every store must do with messages that only came together: `append_each`."""

from __future__ import annotations

from actor_queue.core.message import Accepted, Full
from tests.store.stage import Stage, scenario, texts


class EachConformance:
    """Messages in, each for itself."""

    @scenario(max_messages=1_000)
    async def test_they_are_kept_in_the_order_of_their_arrival_and_answered_in_that_of_the_call(
        self, s: Stage
    ) -> None:
        lease = await s.own()
        arrived = [(7 * i) % 50 for i in range(50)]
        messages = [s.message(str(at), ttl_ms=0)._replace(arrived_ns=at + 1) for at in arrived]
        answers = await s.store.append_each(messages)
        assert [each.pending for each in answers if isinstance(each, Accepted)] == [
            at + 1 for at in arrived
        ]
        assert [each.message_id for each in answers if isinstance(each, Accepted)] == [
            message.message_id for message in messages
        ]
        assert texts(await s.attempt(lease)) == [str(i) for i in range(50)]

    @scenario(max_pending=1)
    async def test_what_is_refused_for_one_is_not_refused_for_the_others(self, s: Stage) -> None:
        await s.send("a", user="bia")
        users = ["ana", "bia", "caio", "bia"]
        answers = await s.store.append_each([s.message("x", user=user) for user in users])
        assert [type(each) for each in answers] == [Accepted, Full, Accepted, Full]
        assert [each.user for each in answers if isinstance(each, Accepted | Full)] == users

    @scenario()
    async def test_one_id_is_kept_once_though_it_comes_twice_at_once(self, s: Stage) -> None:
        twice = [s.message("a", message_id="x")._replace(arrived_ns=i + 1) for i in range(2)]
        answers = await s.store.append_each(twice)
        assert [each.duplicate for each in answers if isinstance(each, Accepted)] == [False, True]
        assert (await s.store.describe("ana")).pending == 1

    @scenario()
    async def test_no_messages_are_no_trouble(self, s: Stage) -> None:
        assert await s.store.append_each([]) == []
