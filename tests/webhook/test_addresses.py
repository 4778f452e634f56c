"""A webhook goes to an address that was checked, however the address was written or looked up."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from actor_queue.app import alert
from actor_queue.core.outcome import Delivered, Failed, Outcome
from actor_queue.core.setting_kinds import WEBHOOK_URL
from actor_queue.core.settings import Networks, Settings
from actor_queue.core.url import Unusable
from actor_queue.webhook import dial
from actor_queue.webhook.client import WebhookClient
from tests.webhook.attempts import AMPLE_S, batch, run
from tests.webhook.receiver import answering, receiving

REFUSED = Failed("address not allowed")
METADATA = "169.254.169.254"


LOOK_UP: Any = socket.getaddrinfo


class Names:
    """`socket.getaddrinfo` with a DNS that gives its answers one after the other, and the last one
    ever after."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    def __call__(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            found: list[Any] = LOOK_UP(host, port, family, type, proto, flags)
            return found
        self.asked.append(host)
        addresses = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        return [each for address in addresses for each in LOOK_UP(address, port, type=type)]


async def outcome_of(url: str, networks: Networks = "any") -> Any:
    async with WebhookClient(url, networks=networks) as client:
        return await client.deliver(batch(), AMPLE_S)


# Those that a lookup understands without DNS, those that only a DNS could, and what a URL may hold.
LINK_LOCAL = (
    *("169.254.169.254", "169.254.43518", "169.16689662", "2852039166", "0xa9fea9fe"),
    *("0xA9.0xFE.0xA9.0xFE", "0xa9.254.0251.254", "025177524776"),
    *("169.254.0xa9fe", "169.0xfea9fe", "0251.0xfe.43518", "0xa9.0376.169.254"),
    *("169.254.169.254.", "0xa9fea9fe.", "2852039166.", "metadata.google.internal"),
    *("instance-data", "169.254.169.254.nip.io", "a9fea9fe.nip.io", "xn--1-7ga.example"),
    *("[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[0:0:0:0:0:ffff:a9fe:a9fe]"),
    *("[::ffff:0:169.254.169.254]", "[::169.254.169.254]", "[::a9fe:a9fe]", "[fe80::1]"),
    *("[FE80::A9FE:A9FE]", "[febf::1]", "[fd00:ec2::254]", "[fd00:0ec2:0::0254]"),
    *("[64:ff9b::169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]"),
    *("[0064:ff9b:0:0:0:0:a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[2002:a9fe:a9fe::1]"),
    *("[2001:0:a9fe:a9fe::1]", "[2001::5601:5601]", "[fd20:ce::254]", "[::ffff:168.63.129.16]"),
)
LOOPBACK = (
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0177.1", "0"),
    *("017700000001", "0x7F.0.0.0x1", "127.00000.1", "127.0.0.1.", "0.0.0.0", "localhost"),
    *("localhost.", "LOCALHOST", "127.0.0.1.nip.io", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[2002:7f00:1::]", "10.1", "0xa000001", "100.64.1", "192.168.257", "[fd12::1]", "[fec0::1]"),
)


def outcomes(hosts: Sequence[str], networks: Networks, answer: str) -> dict[str, Any]:
    """What an attempt to each of them comes to, where a DNS gives `answer` for any name; no socket
    may even be made."""

    found: dict[str, Any] = {}

    async def main() -> None:
        urls = {host: str(WEBHOOK_URL.read(f"http://{host}/latest")) for host in hosts}
        for host, url in urls.items():
            found[host] = await outcome_of(url, networks)

    with nobody_connects(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", Names([answer]))
        run(main)
    return found


def test_no_spelling_of_a_metadata_address_is_connected_to() -> None:
    assert len({*LINK_LOCAL, *LOOPBACK}) >= 60
    assert outcomes(LINK_LOCAL, "any", METADATA) == dict.fromkeys(LINK_LOCAL, REFUSED)


def test_no_spelling_of_a_private_address_is_public() -> None:
    assert outcomes(LOOPBACK, "public", "127.0.0.1") == dict.fromkeys(LOOPBACK, REFUSED)


@pytest.mark.parametrize(
    "host",
    [
        *("\uff11\uff16\uff19.254.169.254", "169\u3002254\u3002169\u3002254", "\u2460.0.0.1"),
        *("[fe80::1%251]", "[fe80::1%25eth0]", "%31", "1 1", "169.254.169.254\\x", "[::1].x"),
        *("0251.0376.0251.0376", "0000251.254.169.254", "169.254.169.0376", "256.0.0.1"),
    ],
)
def test_digits_of_other_scripts_zones_and_octal_quads_are_refused_before_anything_is_looked_up(
    host: str,
) -> None:
    with pytest.raises(Unusable):
        WEBHOOK_URL.read(f"http://{host}/")


def test_an_answer_that_changes_after_the_check_is_never_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second lookup would give the metadata address; the first one is connected to."""

    async def main() -> None:
        async with receiving(answering(200)) as receiver:
            port = receiver.url.rpartition(":")[2].partition("/")[0]
            names = Names(["127.0.0.1"], [METADATA])
            monkeypatch.setattr(socket, "getaddrinfo", names)
            async with WebhookClient(f"http://rebound.example:{port}/") as client:
                assert await client.deliver(batch(), AMPLE_S) == Delivered(200)
                assert names.asked == [b"rebound.example"]
                # The connection that is kept leads where it led; a new one asks and is refused.
                assert await client.deliver(batch(), AMPLE_S) == Delivered(200)
            assert await outcome_of(f"http://rebound.example:{port}/") == REFUSED
            assert len(names.asked) == 2

    run(main)


def test_of_several_addresses_only_those_that_are_allowed_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with receiving(answering(200)) as receiver:
            port = receiver.url.rpartition(":")[2].partition("/")[0]
            url = f"http://both.example:{port}/"
            names = Names([METADATA, "fe80::1", "127.0.0.1"])
            monkeypatch.setattr(socket, "getaddrinfo", names)
            assert await outcome_of(url) == Delivered(200)
            monkeypatch.setattr(socket, "getaddrinfo", Names([METADATA, "fe80::1"]))
            assert await outcome_of(url) == REFUSED

    run(main)


def test_a_name_whose_dns_is_dead_keeps_no_other_name_from_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that looks up a name goes on when its attempt is over, and all of Trio's are 40."""
    names, go_on, hanging = Names(["127.0.0.1"]), threading.Event(), []

    def look_up(host: Any, *rest: Any, **named: Any) -> list[Any]:
        if host == b"dead.example" and not named.get("flags"):
            hanging.append(host)
            go_on.wait(2 * AMPLE_S)
            raise socket.gaierror(socket.EAI_AGAIN, "hidden")
        return names(host, *rest, **named)

    async def main() -> None:
        async with receiving(answering(200)) as receiver:
            port = receiver.url.rpartition(":")[2].partition("/")[0]
            dead = WebhookClient(f"http://dead.example:{port}/")
            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    for _ in range(45):
                        nursery.start_soon(dead.deliver, batch(), AMPLE_S)
                    await trio.testing.wait_all_tasks_blocked()
                    url = f"http://alive.example:{port}/"
                    async with WebhookClient(url) as alive:
                        assert await alive.deliver(batch(), AMPLE_S / 5) == Delivered(200)
                    nursery.cancel_scope.cancel()

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        run(main)
    finally:
        go_on.set()
    assert len(hanging) == dial.LOOKUPS_MAX


def test_receivers_next_door_are_reached_unless_only_public_ones_may_be() -> None:
    async def main() -> None:
        async with receiving(answering(200)) as receiver:
            assert await outcome_of(receiver.url) == Delivered(200)
            assert await outcome_of(receiver.url, "public") == REFUSED

    run(main)


def test_alerts_go_only_where_webhooks_may(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Outcome] = []

    class Once:
        """Alerts once, and about nothing."""

        def __init__(self, _: object, post: Callable[..., Awaitable[Outcome]]) -> None:
            self._post = post

        async def run(self) -> None:
            said.append(await self._post("alert-1", b"{}", AMPLE_S))

    monkeypatch.setattr(alert, "Alerting", Once)
    for url in ("http://127.0.0.1:9/", "http://169.254.43518/"):
        settings = Settings(alert_url=url, webhook_networks="public")
        trio.run(alert.alert_operators, SimpleNamespace(settings=settings))
    assert said == [REFUSED, REFUSED]


# Overlapping tries


def test_the_other_family_is_second_and_no_address_is_tried_twice() -> None:
    four, six = socket.AF_INET, socket.AF_INET6
    names = [(six, "::1"), (six, "::2"), (six, "::1"), (four, "127.0.0.1"), (four, "127.0.0.2")]
    found = dial.targets_of([dial.Target(family, 6, (name, 80)) for family, name in names])
    assert [each.address[0] for each in found] == ["::1", "127.0.0.1", "::2", "127.0.0.2"]
    assert dial.targets_of([]) == []


class Socket:
    """Stands where a socket is: an address fails, is silent, or is connected to."""

    open = 0

    def __init__(self, *_: object) -> None:
        Socket.open += 1
        self.address = ""

    async def connect(self, address: tuple[str, int]) -> None:
        self.address = address[0]
        if address[0] == "silent":
            await trio.sleep_forever()
        elif address[0] == "refuses":
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        await trio.sleep(int(address[0]))

    def close(self) -> None:
        Socket.open -= 1


def first(*addresses: str) -> tuple[str, float]:
    """Which address was connected to, and after how long."""

    async def main() -> tuple[str, float]:
        started = trio.current_time()
        targets = [dial.Target(socket.AF_INET, 6, (address, 80)) for address in addresses]
        sock: Any = await dial._first(targets)
        return sock.address, trio.current_time() - started

    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(main, clock=clock)


def test_a_silent_address_delays_by_a_quarter_of_a_second_and_a_refusing_one_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dial.trio.socket, "socket", Socket)
    monkeypatch.setattr(Socket, "open", 0)
    assert first("1") == ("1", 1.0)
    assert first("silent", "1") == ("1", 1.25)
    assert first("refuses", "1") == ("1", 1.0)
    assert first("9", "1") == ("1", 1.25)
    assert first("1", "1") == ("1", 1.0)
    assert Socket.open == 5, "the winners are left open, and nothing else"
    with pytest.raises(OSError, match="no connection") as caught:
        first("refuses", "refuses")
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert Socket.open == 5


def test_a_try_that_is_cancelled_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial.trio.socket, "socket", Socket)
    monkeypatch.setattr(Socket, "open", 0)

    async def main() -> None:
        with trio.move_on_after(1):
            await dial._first([dial.Target(socket.AF_INET, 6, ("silent", 80))] * 3)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert Socket.open == 0


@contextlib.contextmanager
def nobody_connects() -> Iterator[None]:
    """No socket may even be made."""
    made = dial.trio.socket.socket

    def never(*_: object) -> object:
        raise AssertionError("a connection was tried")

    dial.trio.socket.socket = never  # type: ignore[assignment]
    try:
        yield
    finally:
        dial.trio.socket.socket = made
