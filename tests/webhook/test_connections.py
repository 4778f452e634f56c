"""Connections of the webhook client: kept, lost, refused, encrypted, cut off; none left over."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import trio

from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.webhook import client as client_module
from actor_queue.webhook.client import WebhookClient
from tests.webhook.attempts import (
    AMPLE_S,
    SOON_S,
    attempts,
    batch,
    open_sockets,
    run,
    say_nothing,
    stay,
)
from tests.webhook.receiver import Connection, answering, receiving

CERTIFICATE = Path(__file__).with_name("localhost.pem")


# Kept connections


def test_one_connection_serves_attempts_that_follow_each_other() -> None:
    outcomes, receiver = attempts(answering(200), times=5)
    assert outcomes == [Delivered(200)] * 5
    assert receiver.connections == 1


def test_attempts_at_the_same_time_do_not_wait_for_each_other() -> None:
    together = 20
    arrived = 0
    all_arrived = trio.Event()

    async def answer_when_all_are_there(connection: Connection) -> None:
        nonlocal arrived
        await connection.read_request()
        arrived += 1
        if arrived == together:
            all_arrived.set()
        await all_arrived.wait()
        await connection.answer(200)

    outcomes: list[Outcome] = []

    async def main() -> None:
        async with (
            receiving(answer_when_all_are_there) as receiver,
            WebhookClient(receiver.url, max_deliveries=together) as client,
        ):

            async def one() -> None:
                outcomes.append(await client.deliver(batch(), AMPLE_S))

            async with trio.open_nursery() as nursery:
                for _ in range(together):
                    nursery.start_soon(one)

    run(main)
    assert outcomes == [Delivered(200)] * together


async def answer_once_and_close(connection: Connection) -> None:
    if await connection.read_request():
        await connection.answer(200)


async def answer_once_and_close_on_the_second(connection: Connection) -> None:
    if await connection.read_request():
        await connection.answer(200)
        await connection.read_request()


def test_a_connection_that_was_closed_while_idle_costs_no_attempt() -> None:
    outcomes, receiver = attempts(answer_once_and_close, times=3)
    assert outcomes == [Delivered(200)] * 3
    assert len(receiver.received) == 3


def test_a_kept_connection_that_closes_on_our_request_is_replaced_at_once() -> None:
    outcomes, receiver = attempts(answer_once_and_close_on_the_second, times=2)
    assert outcomes == [Delivered(200)] * 2
    assert receiver.connections == 2
    lost, again = receiver.received[1:]
    assert lost.body == again.body
    assert lost.headers == again.headers, "the receiver can tell that it is the same"


def test_a_kept_connection_that_is_reset_on_our_request_is_replaced_at_once() -> None:
    async def reset_on_the_second(connection: Connection) -> None:
        if await connection.read_request():
            await connection.answer(200)
            if await connection.read_request():
                connection.reset()

    assert attempts(reset_on_the_second, times=2)[0] == [Delivered(200)] * 2


def test_a_receiver_that_always_closes_is_asked_once_more_and_no_more() -> None:
    first = True

    async def answer_only_the_very_first(connection: Connection) -> None:
        nonlocal first
        while await connection.read_request():
            if not first:
                return
            first = False
            await connection.answer(200)

    outcomes, receiver = attempts(answer_only_the_very_first, times=2)
    assert outcomes == [Delivered(200), Failed("connection closed before an answer")]
    assert len(receiver.received) == 3


def test_a_receiver_that_worked_on_the_request_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "STALE_WITHIN_S", 0.0)
    outcomes, receiver = attempts(answer_once_and_close_on_the_second, times=2)
    assert outcomes[1] == Failed("connection closed before an answer")
    assert len(receiver.received) == 2


def test_an_answer_that_is_not_http_is_not_asked_for_again() -> None:
    async def spoil_the_second(connection: Connection) -> None:
        if await connection.read_request():
            await connection.answer(200)
            if await connection.read_request():
                await connection.send(b"nonsense\r\n\r\n")

    outcomes, receiver = attempts(spoil_the_second, times=2)
    assert outcomes[1] == Failed("the answer is not valid HTTP")
    assert len(receiver.received) == 2


def test_connections_idle_for_too_long_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "KEEPALIVE_S", -1.0)
    _, receiver = attempts(answering(200), times=3)
    assert receiver.connections == 3


def test_no_more_connections_are_kept_than_deliveries_are_allowed() -> None:
    async def main() -> None:
        gate = trio.Event()
        waiting = 0

        async def answer_together(connection: Connection) -> None:
            nonlocal waiting
            while await connection.read_request():
                waiting += 1
                if waiting == 8:
                    gate.set()
                await gate.wait()
                await connection.answer(200)

        async with receiving(answer_together) as receiver:
            async with WebhookClient(receiver.url, max_deliveries=3) as client:
                async with trio.open_nursery() as nursery:
                    for _ in range(8):
                        nursery.start_soon(client.deliver, batch(), AMPLE_S)
                await receiver.until_open(3)
                assert receiver.open == 3
            await receiver.until_open(0)

    run(main)


# Nobody there


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def undeliverable(url: str, deadline_s: float = AMPLE_S) -> Failed:
    outcomes: list[Outcome] = []

    async def main() -> None:
        async with WebhookClient(url) as client:
            outcomes.append(await client.deliver(batch(), deadline_s))

    run(main)
    [outcome] = outcomes
    assert isinstance(outcome, Failed)
    assert "hidden" not in outcome.reason
    return outcome


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_where_nobody_listens_refuses(host: str) -> None:
    url = f"http://hidden:hidden@{host}:{unused_port()}/hidden"
    assert undeliverable(url).reason == "connection refused"


def test_a_name_that_does_not_exist_is_said_to_be_the_trouble() -> None:
    reason = undeliverable("http://no-such-host.invalid/hidden").reason
    assert reason in ("name not found", "name lookup failed")


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "a..b"])
def test_a_name_that_dns_cannot_hold_is_a_failure_like_any_other(host: str) -> None:
    assert undeliverable(f"http://{host}/hidden").reason == "name not found"


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (OSError(errno.ENETUNREACH, "hidden"), "host unreachable"),
        (OSError(errno.EHOSTUNREACH, "hidden"), "host unreachable"),
        (OSError(errno.ETIMEDOUT, "hidden"), "connection timed out"),
        (OSError(errno.EMFILE, "hidden"), "too many open files on this side"),
        (socket.gaierror(socket.EAI_AGAIN, "hidden"), "name lookup failed"),
        (socket.gaierror(socket.EAI_NONAME, "hidden"), "name not found"),
        (OSError("hidden"), "connection failed"),
        (None, "connection failed"),
    ],
)
def test_what_cannot_be_provoked_here_is_told_from_the_innermost_cause(
    cause: OSError | None, reason: str
) -> None:
    error = httpx.ConnectError("hidden")
    if cause is not None:
        error.__context__ = OSError("all attempts failed: hidden")
        error.__context__.__cause__ = ExceptionGroup("hidden", [ValueError(), cause])
    assert client_module._reason(error) == reason


def test_an_address_that_answers_nothing_times_out_while_connecting() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # A backlog of 0 holds one connection; Linux drops the SYNs of those after it.
        with socket.create_connection(("127.0.0.1", port)):
            problem = undeliverable(f"http://127.0.0.1:{port}/", SOON_S)
    assert problem == Failed("timed out after 0.2 s while connecting")


def test_a_receiver_that_does_not_read_times_out_while_sending() -> None:
    async def read_nothing(_: Connection) -> None:
        await trio.sleep_forever()

    outcomes: list[Outcome] = []

    async def main() -> None:
        async with receiving(read_nothing) as receiver, WebhookClient(receiver.url) as client:
            outcomes.append(await client.deliver(batch(text="x" * 30_000_000), 1.0))

    run(main)
    assert outcomes == [Failed("timed out after 1 s while sending")]


# TLS


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def over_tls(host: str, tls: ssl.SSLContext | None) -> Outcome:
    outcomes: list[Outcome] = []

    async def main() -> None:
        async with receiving(answering(200), server_tls(), host) as receiver:
            async with WebhookClient(receiver.url, tls=tls) as client:
                outcomes.extend([await client.deliver(batch(), AMPLE_S) for _ in range(2)])
            assert receiver.connections == (1 if outcomes[0] == Delivered(200) else 2)

    run(main)
    first, second = outcomes
    assert first == second
    return first


def test_a_trusted_certificate_is_used_and_its_connection_kept() -> None:
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    assert over_tls("127.0.0.1", trusting) == Delivered(200)


def test_an_authority_in_ssl_cert_file_is_trusted_in_addition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    assert over_tls("127.0.0.1", None) == Delivered(200)
    trusting = client_module._context(httpx.URL("https://h"), None)
    public = httpx.create_ssl_context(trust_env=False).get_ca_certs()
    assert trusting is not None
    assert public
    assert all(authority in trusting.get_ca_certs() for authority in public)


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    outcome = over_tls("127.0.0.1", None)
    assert outcome == Failed("TLS certificate not trusted: self-signed certificate")


def test_a_certificate_for_another_name_is_refused() -> None:
    outcome = over_tls("127.0.0.2", ssl.create_default_context(cafile=CERTIFICATE))
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("TLS certificate not trusted: IP address mismatch")


def test_a_receiver_that_does_not_speak_tls_is_said_to_be_the_trouble() -> None:
    async def plain(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stay(connection)

    async def main() -> None:
        async with (
            receiving(plain) as receiver,
            WebhookClient(receiver.url.replace("http:", "https:")) as client,
        ):
            assert await client.deliver(batch(), AMPLE_S) == Failed("TLS failed")

    run(main)


def test_a_handshake_that_stalls_times_out_and_leaves_no_socket() -> None:
    async def main() -> None:
        async with (
            receiving(stay) as receiver,
            WebhookClient(receiver.url.replace("http:", "https:")) as client,
        ):
            before = open_sockets()
            outcome = await client.deliver(batch(), SOON_S)
            assert outcome == Failed("timed out after 0.2 s in the TLS handshake")
            await receiver.until_open(0)
            assert open_sockets() == before

    run(main)


# Cancellation and leaks


def test_cancelling_an_attempt_passes_through_and_closes_its_connection() -> None:
    async def main() -> None:
        async with receiving(say_nothing) as receiver, WebhookClient(receiver.url) as client:
            finished = False

            async def attempt() -> None:
                nonlocal finished
                await client.deliver(batch(), AMPLE_S)
                finished = True

            async with trio.open_nursery() as nursery:
                nursery.start_soon(attempt)
                await receiver.arrived.wait()
                nursery.cancel_scope.cancel()
            assert not finished
            await receiver.until_open(0)

    run(main)


def test_nothing_is_lost_by_hundreds_of_attempts_cut_off_anywhere() -> None:
    together = 40
    healthy = False

    async def awkward(connection: Connection) -> None:
        while await connection.read_request():
            count = len(connection.receiver.received)
            if healthy or count % 4 == 0:
                await connection.answer(200)
            elif count % 4 == 1:
                await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
                await stay(connection)
            elif count % 4 == 2:
                return
            else:
                await stay(connection)

    async def main() -> None:
        nonlocal healthy
        async with receiving(awkward) as receiver:
            async with WebhookClient(receiver.url, max_deliveries=together) as client:
                before = open_sockets()

                async def cut_off(number: int) -> None:
                    if number % 2:
                        await client.deliver(batch(), 0.0005 * number)
                    else:
                        with trio.move_on_after(0.0005 * number):
                            await client.deliver(batch(), AMPLE_S)

                for _ in range(10):
                    async with trio.open_nursery() as nursery:
                        for number in range(together):
                            nursery.start_soon(cut_off, number)
                healthy = True
                outcomes: list[Outcome] = []

                async def one() -> None:
                    outcomes.append(await client.deliver(batch(), AMPLE_S))

                async with trio.open_nursery() as nursery:
                    for _ in range(together):
                        nursery.start_soon(one)
                assert outcomes == [Delivered(200)] * together
            await receiver.until_open(0)
            assert open_sockets() == before

    run(main)


# Set-up


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hidden",
        "ftp://hidden/",
        "http://",
        "https:///hidden",
        "http://hidden:0/",
        "http://hidden:65536/",
        "http://hidden:port/",
        "http://[hidden/",
        "http://h\0idden/",
        "http://hidden hidden/",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        WebhookClient(url)
    assert "hidden" not in str(caught.value)
