"""What a receiver sends to its address for answers is read, whatever its numbers are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from actor_queue.core.answers import ANSWER_MAX_MS, Ticket
from actor_queue.core.delivery import RETRY_AFTER_MAX_S
from actor_queue.runtime.answers import WAIT_MAX_S
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import StoreUnavailable
from tests.http.client import ask
from tests.http.conftest import Served, served

PATH = "/api/answers/a-ticket"
HUGE = "1" + "0" * 400
LONG = "9" * 15
"""The most digits that a text of seconds may have."""


class Told:
    """`AnswerVerbs` of one ticket, which keep the numbers that they are given."""

    def __init__(self) -> None:
        self.numbers: list[float | None] = []

    def ticket(self, text: str) -> Ticket | None:
        return Ticket("ana", "b1", "ra/1", 1) if text == "a-ticket" else None

    async def wait(self, ticket: Ticket, seconds: float) -> Answered:
        return self._told(seconds, "answering")

    async def extend(self, ticket: Ticket, for_ms: int) -> Answered:
        return self._told(for_ms, "answering")

    async def fail(
        self, ticket: Ticket, said: str | None, retry_after_s: float | None, *, retry: bool
    ) -> Answered:
        return self._told(retry_after_s, "failed")

    def _told(self, number: float | None, state: Any) -> Answered:
        self.numbers.append(number)
        return Answered(state, 0)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as server:
        yield server


@pytest.mark.parametrize(
    ("method", "path", "body", "number"),
    [
        ("POST", f"{PATH}/fail", f'{{"retry_after": {HUGE}}}', RETRY_AFTER_MAX_S),
        ("POST", f"{PATH}/fail", f'{{"retry_after": "{LONG}"}}', RETRY_AFTER_MAX_S),
        ("POST", f"{PATH}/fail", '{"retry_after": 1e308}', RETRY_AFTER_MAX_S),
        ("POST", f"{PATH}/extend", f'{{"seconds": {HUGE}}}', ANSWER_MAX_MS),
        ("GET", f"{PATH}?wait={LONG}", "", WAIT_MAX_S),
    ],
)
def test_a_number_of_any_size_counts_as_the_most_there_is(
    server: Served, method: str, path: str, body: str, number: float
) -> None:
    told: Any = Told()
    server.engine.answers = told
    assert ask(server.address, method, path, body.encode()).status == 200
    assert told.numbers == [number]


@pytest.mark.parametrize("number", ["1e400", "Infinity", "NaN", "[1]"])
def test_what_is_no_number_is_refused(server: Served, number: str) -> None:
    told: Any = Told()
    server.engine.answers = told
    for verb, field in (("fail", "retry_after"), ("extend", "seconds")):
        body = f'{{"{field}": {number}}}'.encode()
        assert 400 <= ask(server.address, "POST", f"{PATH}/{verb}", body).status < 500
    assert not told.numbers


class Starting(Told):
    def ticket(self, text: str) -> Ticket | None:
        raise StoreUnavailable("the service is starting")


def test_whoever_asks_a_service_that_is_starting_is_told_to_come_again(server: Served) -> None:
    starting: Any = Starting()
    server.engine.answers = starting
    for method, path in (("POST", f"{PATH}/done"), ("GET", PATH)):
        answer = ask(server.address, method, path, b"")
        assert (answer.status, "retry-after" in answer.headers) == (503, True)
