"""kill -9 between any two steps of a message's way: after a restart nothing is missing.

The steps are reached by freezing one side: a frozen service has received an answer and can not
tell Redis; a frozen Redis has been asked and has not answered. Many users stand at different
steps when one kill falls, so one scenario serves several tests.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.acceptance.client import Load, Response, fresh_text, fresh_user
from tests.acceptance.receiver import CLOSE, OK, Attempt, held, reply, slow
from tests.acceptance.service import RECOVERY_S, World, world
from tests.acceptance.waiting import (
    BUSY_S,
    until,
    wait_for_attempts,
    wait_for_end,
    wait_for_work,
    wait_until,
)

pytestmark = pytest.mark.process

TIMEOUT_S = 2.0
"""AQ_WEBHOOK_TIMEOUT, which counts from the claim."""
COLLECTING_S = 1.5
HOLD_S = 4.0


def assert_same_batch_again(attempts: list[Attempt], count: int) -> None:
    """`count` attempts of one batch, the last of which succeeded."""
    assert len(attempts) == count
    assert len({attempt.webhook_id for attempt in attempts}) == 1
    assert len({attempt.body for attempt in attempts}) == 1
    assert attempts[-1].status == 200


# The service is frozen, then killed


@dataclass
class Frozen:
    """One user for each step at which the service was when it died."""

    world: World
    killed_at: float = 0.0
    ready_at: float = 0.0
    collecting: str = field(default_factory=lambda: fresh_user("coletando"))
    under_way: str = field(default_factory=lambda: fresh_user("tentando"))
    delivered: str = field(default_factory=lambda: fresh_user("entregue"))
    failed: str = field(default_factory=lambda: fresh_user("falhou"))
    refused: str = field(default_factory=lambda: fresh_user("recusado"))
    waiting: str = field(default_factory=lambda: fresh_user("repetindo"))
    held: str = field(default_factory=lambda: fresh_user("retido"))
    behind: str = ""
    """A text of `under_way` that collects behind the batch under way."""

    def of(self, user: str) -> list[Attempt]:
        return self.world.receiver.of(user)


@pytest.fixture(scope="module")
def frozen() -> Iterator[Frozen]:
    with world(AQ_RETRY_SCHEDULE="1.5,0.2,0.2", AQ_WEBHOOK_TIMEOUT="2") as shared:
        scenario = Frozen(shared)
        _freeze_and_kill(scenario)
        shared.service.start()
        scenario.ready_at = time.monotonic()
        shared.gone.update(scenario.of(scenario.refused)[0].texts)
        yield scenario


def _freeze_and_kill(scenario: Frozen) -> None:
    client, receiver = scenario.world.client, scenario.world.receiver
    answer, never = threading.Event(), threading.Event()
    receiver.script(scenario.under_way, held(never))
    receiver.script(scenario.delivered, held(answer, 200))
    receiver.script(scenario.failed, held(answer, 500))
    receiver.script(scenario.refused, held(answer, 410), reply(410))
    receiver.script(scenario.waiting, reply(500))

    assert client.user(scenario.held, "hold", seconds=HOLD_S).status == 200
    client.accepted(scenario.held, ttl=0.1)
    client.accepted(scenario.waiting, ttl=0)
    wait_until(lambda: client.state(scenario.waiting) == "retrying", "the failure is recorded")
    at_the_receiver = (
        scenario.under_way,
        scenario.delivered,
        scenario.failed,
        scenario.refused,
    )
    client.bulk(
        [{"user": user, "message": fresh_text(), "ttl": 0} for user in at_the_receiver], lines=True
    )
    for user in at_the_receiver:
        wait_for_attempts(receiver, user)
    scenario.behind = client.accepted(scenario.under_way, ttl=0.2)
    client.accepted(scenario.collecting, ttl=COLLECTING_S)

    scenario.world.service.freeze()
    answer.set()
    for user in (scenario.delivered, scenario.failed, scenario.refused):
        wait_for_end(receiver, user)
    scenario.world.service.kill()
    scenario.killed_at = time.monotonic()


def test_killed_after_append_the_message_arrives_no_later_than_lease_and_1_s(
    frozen: Frozen,
) -> None:
    (attempt,) = wait_for_attempts(frozen.world.receiver, frozen.collecting)
    (post,) = [p for p in frozen.world.client.journal.posts if p.user == frozen.collecting]
    due = max(post.returned + COLLECTING_S, frozen.killed_at + RECOVERY_S, frozen.ready_at)
    assert attempt.started <= due + BUSY_S


def test_killed_in_the_middle_of_an_attempt_the_same_batch_comes_after_its_time_limit(
    frozen: Frozen,
) -> None:
    attempts = wait_for_attempts(frozen.world.receiver, frozen.under_way, 3)
    assert_same_batch_again(attempts[:2], 2)
    first, second, behind = attempts
    assert first.status is None
    assert second.started >= first.started + TIMEOUT_S
    assert behind.texts == (frozen.behind,)


def test_killed_after_the_receivers_200_and_before_the_ack_the_same_batch_comes_again(
    frozen: Frozen,
) -> None:
    attempts = wait_for_end(frozen.world.receiver, frozen.delivered, 2)
    assert_same_batch_again(attempts, 2)
    assert attempts[0].status == 200


def test_killed_after_a_failure_and_before_it_was_recorded_the_same_batch_comes_again(
    frozen: Frozen,
) -> None:
    attempts = wait_for_end(frozen.world.receiver, frozen.failed, 2)
    assert_same_batch_again(attempts, 2)


def test_killed_after_a_410_and_before_it_was_buried_it_is_tried_again_and_buried(
    frozen: Frozen,
) -> None:
    attempts = wait_for_end(frozen.world.receiver, frozen.refused, 2)
    assert [attempt.status for attempt in attempts] == [410, 410]
    (webhook_id,) = {attempt.webhook_id for attempt in attempts}
    wait_until(lambda: frozen.world.client.dead_ids() == {webhook_id}, "buried")


def test_killed_while_a_batch_waits_for_its_retry_it_comes_at_its_time(frozen: Frozen) -> None:
    attempts = wait_for_end(frozen.world.receiver, frozen.waiting, 2)
    assert_same_batch_again(attempts, 2)
    assert attempts[1].started >= attempts[0].started + 1.5 * 0.8


def test_a_hold_survives_a_kill(frozen: Frozen) -> None:
    (attempt,) = wait_for_end(frozen.world.receiver, frozen.held)
    (post,) = [p for p in frozen.world.client.journal.posts if p.user == frozen.held]
    assert attempt.started >= post.called + HOLD_S - 0.5


def test_after_a_kill_between_steps_the_contract_holds(frozen: Frozen) -> None:
    frozen.world.settle()
    frozen.world.verify(repeats=True)


# Redis is frozen, then the service killed


@dataclass
class Interrupted:
    """Users whose step was on its way to Redis when the service died."""

    world: World
    posting: str = field(default_factory=lambda: fresh_user("postando"))
    claiming: str = field(default_factory=lambda: fresh_user("reservando"))
    acking: str = field(default_factory=lambda: fresh_user("confirmando"))
    text: str = field(default_factory=fresh_text)
    answers: list[Response] = field(default_factory=list)


@pytest.fixture(scope="module")
def interrupted() -> Iterator[Interrupted]:
    with world(AQ_WEBHOOK_TIMEOUT="2") as shared:
        scenario = Interrupted(shared)
        answer = threading.Event()
        shared.receiver.script(scenario.acking, held(answer))
        shared.client.accepted(scenario.acking, ttl=0)
        wait_for_attempts(shared.receiver, scenario.acking)
        shared.client.accepted(scenario.claiming, ttl=0.6)
        due_at = time.monotonic() + 0.6
        with shared.redis.frozen():
            sender = threading.Thread(target=_post_named, args=(scenario,))
            sender.start()
            answer.set()
            wait_for_end(shared.receiver, scenario.acking)
            # The timer fires and its claim is on the wire; nothing outside shows that.
            until(due_at + 0.2)
            shared.service.kill()
            sender.join()
        shared.service.start()
        yield scenario


def _post_named(scenario: Interrupted) -> None:
    named = f"id-{scenario.text}"
    client = scenario.world.client
    scenario.answers.append(client.post(scenario.posting, scenario.text, 0.3, message_id=named))


def test_killed_before_the_202_a_post_can_be_repeated_with_its_id(
    interrupted: Interrupted,
) -> None:
    assert [answer.status for answer in interrupted.answers] == [None]
    _post_named(interrupted)
    assert interrupted.answers[-1].status == 202
    (attempt,) = wait_for_end(interrupted.world.receiver, interrupted.posting)
    assert attempt.texts == (interrupted.text,)


def test_killed_before_the_answer_to_a_claim_the_batch_is_attempted_after_its_time_limit(
    interrupted: Interrupted,
) -> None:
    attempts = wait_for_end(interrupted.world.receiver, interrupted.claiming)
    assert_same_batch_again(attempts, 1)


def test_killed_before_the_answer_to_an_ack_the_batch_comes_at_most_once_more(
    interrupted: Interrupted,
) -> None:
    wait_until(lambda: interrupted.world.client.state(interrupted.acking) == "idle", "settled")
    attempts = interrupted.world.receiver.of(interrupted.acking)
    assert_same_batch_again(attempts, len(attempts))
    assert len(attempts) <= 2


def test_after_a_kill_with_calls_on_their_way_the_contract_holds(interrupted: Interrupted) -> None:
    interrupted.world.settle()
    interrupted.world.verify(repeats=True)


# Other kills


def test_killed_after_a_claim_and_before_the_receiver_saw_anything_nothing_is_missing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, world(start=False) as shared:
        real, port = shared.receiver.url, deaf.getsockname()[1]
        # The system completes the connection; nobody ever reads from it.
        shared.service.start(WEBHOOK_URL=f"http://127.0.0.1:{port}/")
        users = [fresh_user("surdo") for _ in range(5)]
        texts = {user: shared.client.accepted(user, ttl=0.1) for user in users}
        deaf.settimeout(5)
        connections = [deaf.accept()[0] for _ in users]
        shared.service.kill()
        for connection in connections:
            connection.close()

        shared.service.start(WEBHOOK_URL=real)
        shared.settle()
        for user in users:
            (attempt,) = shared.receiver.of(user)
            assert attempt.texts == (texts[user],)
        shared.verify()


def test_killed_after_a_replay_was_asked_for_the_dead_letter_comes_with_its_old_id() -> None:
    with world() as shared:
        user, gate = fresh_user("reenvio"), threading.Event()
        shared.receiver.script(user, reply(410), held(gate))
        shared.client.accepted(user, ttl=0)
        wait_until(shared.client.dead_ids, "buried")
        (webhook_id,) = shared.client.dead_ids()
        assert shared.client.call("POST", f"/api/dead/{webhook_id}/replay").status in (200, 202)
        shared.service.kill()
        gate.set()
        shared.service.start()
        shared.settle()
        assert {attempt.webhook_id for attempt in shared.receiver.of(user)} == {webhook_id}
        wait_until(lambda: not shared.client.dead_ids(), "no dead letter any more")
        shared.verify(repeats=True)


def test_killed_again_and_again_under_load_nothing_is_lost() -> None:
    kills = 8
    chance = random.Random(3)
    answers = [OK] * 6 + [slow(0.1), slow(0.4), reply(500), CLOSE]
    # A kill is an attempt too, so that a short schedule would leave dead letters.
    with world(AQ_RETRY_SCHEDULE=",".join(["0.1"] * 50)) as shared:
        shared.receiver.mix = lambda: chance.choice(answers)
        load = Load(shared.client)
        with load.running():
            for number in range(kills):
                wait_for_work(shared.receiver, 5)
                until(time.monotonic() + chance.uniform(0, 0.8))
                shared.service.kill()
                # The last two come up again only after the lease has run out.
                if number >= kills - 2:
                    until(time.monotonic() + 1.2)
                # Killed while it starts, too.
                shared.service.start(ready=number % 3 != 1)
            wait_until(lambda: shared.service.ready, "ready")
        shared.receiver.mix = None
        shared.settle()
        shared.verify(repeats=True)
        assert len(shared.client.journal.accepted_texts()) > 200
        assert load.refused > 0
