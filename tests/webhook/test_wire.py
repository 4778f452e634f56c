"""A single connection to the receiver: what goes over it, and when it is not used again."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
import trio
import trio.testing

from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.webhook import client as client_module
from actor_queue.webhook.client import WebhookClient
from actor_queue.webhook.wire import Connection, Origin
from tests.webhook.attempts import (
    AMPLE_S,
    attempts,
    batch,
    open_sockets,
    run,
    say_nothing,
    stay,
)
from tests.webhook.receiver import Behaviour, Receiver, answering, receiving
from tests.webhook.receiver import Connection as Accepted

CERTIFICATE = Path(__file__).with_name("localhost.pem")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BUSY = Failed("answered 503", 503, answer="ok")


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)


def certified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def two_attempts(
    behaviour: Behaviour, between: Callable[[Receiver], Awaitable[None]], tls: bool = False
) -> tuple[list[Outcome], Receiver]:
    outcomes: list[Outcome] = []
    seen: list[Receiver] = []

    async def main() -> None:
        async with (
            receiving(behaviour, certified() if tls else None) as receiver,
            WebhookClient(receiver.url, tls=trusting()) as client,
        ):
            seen.append(receiver)
            outcomes.append(await client.deliver(batch(), AMPLE_S))
            await between(receiver)
            outcomes.append(await client.deliver(batch(), AMPLE_S))

    run(main)
    return outcomes, seen[0]


async def at_once(_: Receiver) -> None:
    pass


# The request


@pytest.mark.parametrize("evil", ["\r\nx: y", "\n", "\r", "\0", "a\r\n\r\nGET / HTTP/1.1\r\n\r\n"])
def test_no_value_can_become_a_header_of_its_own(evil: str) -> None:
    async def main() -> None:
        async with receiving(answering(200)) as receiver, WebhookClient(receiver.url) as client:
            await client.deliver(batch("b1"), AMPLE_S)
            outcome = await client.deliver(batch("b2" + evil), AMPLE_S)
            assert outcome == Failed("the request cannot be written as HTTP")
            assert await client.deliver(batch("b3"), AMPLE_S) == Delivered(200)
            assert [one.headers["webhook-id"] for one in receiver.received] == ["b1", "b3"]

    run(main)


def test_a_receiver_may_refuse_a_body_that_it_does_not_read() -> None:
    async def refuse(accepted: Accepted) -> None:
        await accepted.stream.receive_some(1)
        await accepted.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        accepted.tcp.socket.shutdown(socket.SHUT_WR)

    async def main() -> None:
        large = batch(text="x" * 30_000_000)
        async with receiving(refuse) as receiver, WebhookClient(receiver.url) as client:
            outcome = await client.deliver(large, AMPLE_S)
            assert outcome == Failed("answered 413", 413)
            url = httpx.URL(receiver.url)
            connection = Connection(Origin.of(url, None))
            request = httpx.Request("POST", url, content=b"x" * 30_000_000)
            assert (await connection.handle_async_request(request)).status_code == 413
            assert connection.answer_ended
            assert not connection.reusable
            connection.close()

    run(main)


def test_a_connection_with_half_a_request_on_it_is_not_used_again() -> None:
    async def read_the_first(accepted: Accepted) -> None:
        await accepted.read_request()
        await accepted.answer(200)
        if accepted.receiver.connections == 1:
            await trio.sleep_forever()

    async def main() -> None:
        async with receiving(read_the_first) as receiver, WebhookClient(receiver.url) as client:
            assert await client.deliver(batch(), AMPLE_S) == Delivered(200)
            outcome = await client.deliver(batch(text="x" * 30_000_000), 1.0)
            assert outcome == Failed("timed out after 1 s while sending")
            assert await client.deliver(batch(), AMPLE_S) == Delivered(200)
            assert receiver.connections == 2

    run(main)


def test_a_name_with_an_underscore_is_looked_up_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def nowhere(host: object, *_: object, flags: int = 0, **__: object) -> NoReturn:
        if not flags & socket.AI_NUMERICHOST:
            asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "hidden")

    async def main() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
        async with WebhookClient("http://my_bot:5678/hook") as client:
            assert await client.deliver(batch(), AMPLE_S) == Failed("name not found")

    run(main)
    assert asked == [b"my_bot"]


# Answers after which the connection is used again, or not


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (OK, 1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 1),
        (OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), 2),
        (OK.replace(b"1.1", b"1.0"), 2),
        (b"HTTP/1.1 204 No Content\r\n\r\nunasked", 2),
        (OK + OK, 2),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_only_a_connection_with_nothing_left_on_it_is_used_again(
    answer: bytes, connections: int, tls: bool
) -> None:
    async def give(accepted: Accepted) -> None:
        while await accepted.read_request():
            await accepted.send(answer)

    outcomes, receiver = two_attempts(give, at_once, tls)
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert receiver.connections == connections


def test_a_short_body_that_comes_after_its_head_is_waited_for() -> None:
    async def hesitate(accepted: Accepted) -> None:
        while await accepted.read_request():
            for piece in (OK[:-2], OK[-2:-1], OK[-1:]):
                await accepted.send(piece)
                await trio.testing.wait_all_tasks_blocked()

    outcomes, receiver = two_attempts(hesitate, at_once)
    assert outcomes == [Delivered(200)] * 2
    assert receiver.connections == 1


@pytest.mark.parametrize("tls", [False, True])
def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next(tls: bool) -> None:
    said = trio.Event()

    async def say_too_much(accepted: Accepted) -> None:
        if accepted.receiver.connections == 1:
            await accepted.read_request()
            await accepted.send(OK)
            await trio.testing.wait_all_tasks_blocked()
            await accepted.send(OK)
            said.set()
        while await accepted.read_request():
            await accepted.answer(503)

    async def until_said(_: Receiver) -> None:
        await said.wait()

    outcomes, receiver = two_attempts(say_too_much, until_said, tls)
    assert outcomes == [Delivered(200), BUSY]
    assert receiver.connections == 2


def test_an_answer_too_many_is_found_even_where_tls_has_read_it_already() -> None:
    async def say_too_much(accepted: Accepted) -> None:
        await accepted.read_request()
        # Two records, and the network makes them one piece.
        accepted.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        if accepted.receiver.connections == 1:
            await accepted.send(OK)
            await accepted.send(OK)
        else:
            await accepted.answer(503)
        accepted.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        await stay(accepted)

    outcomes, receiver = two_attempts(say_too_much, at_once, tls=True)
    assert outcomes == [Delivered(200), BUSY]
    assert receiver.connections == 2


@pytest.mark.parametrize("tls", [False, True])
def test_a_connection_that_was_closed_while_idle_is_noticed_before_it_is_used(
    tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "STALE_WITHIN_S", 0.0)  # so no second try

    async def answer_once(accepted: Accepted) -> None:
        if await accepted.read_request():
            await accepted.answer(200)

    async def until_closed(receiver: Receiver) -> None:
        await receiver.until_open(0)
        await trio.testing.wait_all_tasks_blocked()

    outcomes, _ = two_attempts(answer_once, until_closed, tls)
    assert outcomes == [Delivered(200)] * 2


def test_a_receiver_that_began_to_answer_is_not_asked_again() -> None:
    async def break_off_the_second(accepted: Accepted) -> None:
        if await accepted.read_request():
            await accepted.answer(200)
            if await accepted.read_request():
                await accepted.send(b"HTTP/1.1 200 OK\r\n")

    outcomes, receiver = attempts(break_off_the_second, times=2)
    assert outcomes[1] == Failed("connection closed before an answer")
    assert len(receiver.received) == 2


# TLS


def test_the_receiver_is_told_the_name_it_is_called_by_and_only_http_1_is_offered() -> None:
    names: list[str | None] = []
    chosen: list[str | None] = []
    context = certified()
    context.set_alpn_protocols(["h2", "http/1.1"])

    def note(_: object, name: str | None, __: object) -> None:
        names.append(name)

    context.sni_callback = note

    async def answer(accepted: Accepted) -> None:
        await accepted.read_request()
        assert isinstance(accepted.stream, trio.SSLStream)
        chosen.append(accepted.stream.selected_alpn_protocol())
        await accepted.answer(200)

    async def main() -> None:
        async with receiving(answer, context) as receiver:
            url = f"https://localhost:{receiver.port}/"
            async with WebhookClient(url, tls=trusting()) as client:
                assert await client.deliver(batch(), AMPLE_S) == Delivered(200)

    run(main)
    assert (names, chosen) == (["localhost"], ["http/1.1"])


def test_a_kept_connection_is_closed_when_the_attempt_is_over_before_it_began() -> None:
    async def main() -> None:
        async with (
            receiving(answering(200), certified()) as receiver,
            WebhookClient(receiver.url, tls=trusting()) as client,
        ):
            before = open_sockets()
            await client.deliver(batch(), AMPLE_S)
            outcome = await client.deliver(batch(), 0.0)
            assert outcome == Failed("timed out after 0 s while connecting")
            await receiver.until_open(0)
            assert open_sockets() == before

    run(main)


# As a transport of httpx


def test_it_is_a_transport_that_any_httpx_client_can_use() -> None:
    async def main() -> None:
        async with receiving(answering(200, b"h" * 100_000)) as receiver:
            url = httpx.URL(receiver.url)
            transport = Connection(Origin.of(url, None))
            async with httpx.AsyncClient(transport=transport) as client:
                for _ in range(2):
                    assert (await client.post(url, content=b"x")).text == "h" * 100_000
            assert receiver.connections == 1
            await receiver.until_open(0)

    run(main)


def test_what_goes_wrong_is_an_error_of_httpx_with_its_cause() -> None:
    async def main() -> None:
        async with receiving(say_nothing) as receiver:
            url = httpx.URL(receiver.url)
        connection = Connection(Origin.of(url, None))
        with pytest.raises(httpx.ConnectError) as caught:
            await connection.handle_async_request(httpx.Request("POST", url, content=b""))
        assert isinstance(caught.value.__cause__, OSError)
        connection.close()

    run(main)
