"""A start whose REDIS_URL is wrong in a way that stays says what is wrong, and does not wait."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from actor_queue import ActorQueue
from actor_queue.app import doctor
from actor_queue.core.batch import Batch
from actor_queue.core.settings import Settings, parse
from actor_queue.store.api import StoreMisconfigured
from actor_queue.transport.address import Place
from actor_queue.transport.aim import Aim, without_database
from actor_queue.transport.protocol import spoken_at
from actor_queue.transport.refusals import NOT_EXECUTED, kind_of_trouble
from tests.redis_topologies import HOST, cluster, free_ports, tcp_server, tls_front
from tests.servers import Server

CERTIFICATE = Path(__file__).parents[1] / "webhook" / "localhost.pem"
WITHIN_S = 15
"""A start that would wait for ever is not one that says what is wrong."""


@pytest.fixture(scope="module")
def plain() -> Iterator[int]:
    """The port of a server without TLS."""
    with tcp_server("--databases", "7", "--requirepass", "certa") as server:
        yield server.port


@pytest.fixture(scope="module")
def secure(plain: int) -> Iterator[int]:
    """The port of the same one with TLS."""
    with tls_front((HOST, plain), CERTIFICATE) as (_, port):
        yield port


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    """The port of a server that speaks HTTP, and answers everything else as nginx does."""

    def answer(listener: socket.socket) -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            with stream:
                stream.recv(1_024)
                stream.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def refused(settings: Settings) -> str:
    """The one sentence that the start ends with."""

    async def main() -> None:
        with trio.fail_after(WITHIN_S):
            async with ActorQueue(settings, deliver=_nothing):
                pass

    with pytest.raises(StoreMisconfigured) as caught:
        trio.run(main)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def examined(settings: Settings) -> str:
    """What doctor finds of the connection."""
    found = [each for each in doctor.examine(settings) if each.check == "redis"]
    assert [each.level for each in found] == ["fail"]
    return found[0].text


async def _nothing(batch: Batch) -> None:
    raise AssertionError(batch)


@pytest.mark.parametrize("say", [refused, examined])
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:certa@{h}:{secure}", "speaks TLS: use rediss:// instead of redis://"),
        ("redis://{h}:{secure}", "speaks TLS: use rediss:// instead of redis://"),
        ("rediss://:certa@{h}:{plain}", "does not speak TLS: use redis:// instead of rediss://"),
        ("redis+cluster://{h}:{secure}", "speaks TLS: add ?tls=true"),
        ("redis+sentinel://{h}:{secure}/x", "speaks TLS: add ?tls=true"),
        ("redis+cluster://{h}:{plain}?tls=true", "does not speak TLS: take tls=true away"),
        ("redis+sentinel://{h}:{plain}/x?tls=true", "does not speak TLS: take tls=true away"),
        ("redis://{h}:{web}", "speaks HTTP, so it is no Redis: correct the port in REDIS_URL"),
        ("rediss://{h}:{web}", "speaks HTTP, so it is no Redis: correct the port in REDIS_URL"),
        (
            "redis://:certa@{h}:{plain}/7",
            "database 7 is out of range: this Redis has 7, from 0 to 6",
        ),
        ("redis://:certa@{h}:{plain}/99", "database 99 is out of range: this Redis has 7"),
    ],
)
def test_an_address_that_cannot_work_is_refused_in_words_that_say_what_to_change(
    url: str, words: str, say: object, plain: int, secure: int, web: int
) -> None:
    filled = url.format(h=HOST, plain=plain, secure=secure, web=web)
    assert callable(say)
    sentence = say(Settings(redis_url=filled))
    assert words in sentence
    assert "certa" not in sentence


def test_a_database_that_a_socket_s_address_names_is_looked_at_too(
    valkey_server: Server,
) -> None:
    said = refused(Settings(redis_url=f"unix://{valkey_server.socket}?db=99"))
    assert "database 99 is out of range: this Redis has 16" in said


def test_a_node_of_a_cluster_has_one_database() -> None:
    with cluster(1, 0) as made:
        said = refused(Settings(redis_url=f"redis://{HOST}:{made.servers[0].port}/1"))
    assert "only database 0" in said


@pytest.mark.parametrize("say", [refused, examined])
def test_the_variable_that_was_set_is_named(say: object, plain: int, secure: int, web: int) -> None:
    assert callable(say)
    host = {"REDIS_HOST": HOST, "REDIS_PORT": str(plain)}
    for more, words in (
        ({"REDIS_PASSWORD": "errada"}, "REDIS_PASSWORD"),
        ({}, "REDIS_PASSWORD"),
        ({"REDIS_PORT": str(secure)}, "instead of REDIS_HOST"),
        ({"REDIS_PORT": str(web)}, "correct REDIS_PORT"),
    ):
        sentence = say(parse({**host, **more}))
        assert words in sentence
        if "rediss://" not in sentence:
            assert "REDIS_URL" not in sentence
    url = f"redis://:errada@{HOST}:{plain}"
    assert "REDIS_URL" in say(parse({"REDIS_URL": url}))


def test_doctor_says_of_a_webhook_without_tls_that_its_port_speaks_tls(
    secure: int, web: int
) -> None:
    def said(port: int) -> list[str]:
        found = doctor.examine(parse({"WEBHOOK_URL": f"http://{HOST}:{port}/x"}))
        return [each.text for each in found if each.level == "fail" and each.check == "webhook"]

    assert said(web) == []
    (text,) = said(secure)
    assert "speaks TLS: use https:// instead of http:// in WEBHOOK_URL" in text


@pytest.mark.parametrize("say", [refused, examined])
@pytest.mark.parametrize("password", ["certa ", '"certa"', "\tcerta"])
def test_what_stands_around_a_password_that_is_refused_is_doubted(
    say: Callable[[Settings], str], plain: int, password: str
) -> None:
    host = {"REDIS_HOST": HOST, "REDIS_PORT": str(plain)}
    said = say(parse({**host, "REDIS_PASSWORD": password}))
    assert "begins or ends with a space or a quotation mark" in said
    assert "certa" not in said
    assert "begins or ends" not in say(parse({**host, "REDIS_PASSWORD": "errada"}))
    quoted = quote(password, safe="")
    assert "begins or ends" in say(parse({"REDIS_URL": f"redis://:{quoted}@{HOST}:{plain}"}))


@pytest.mark.parametrize("say", [refused, examined])
def test_where_no_password_was_set_none_is_called_wrong(
    say: Callable[[Settings], str], plain: int
) -> None:
    host = {"REDIS_HOST": HOST, "REDIS_PORT": str(plain)}
    assert "wants a password: set it in REDIS_PASSWORD" in say(parse(host))
    assert "wants a password: set it in REDIS_URL" in say(
        parse({"REDIS_URL": f"redis://{HOST}:{plain}"})
    )


def test_credentials_that_are_refused_are_one_kind_of_trouble_whoever_set_them() -> None:
    for code in ("NOAUTH", "WRONGPASS"):
        refusal = NOT_EXECUTED[code]
        for sentence in (refusal.sentence, refusal.for_host):
            assert kind_of_trouble(sentence) == "wrong_credentials"


def test_every_refusal_that_names_redis_url_has_words_for_redis_host_too() -> None:
    for refusal in NOT_EXECUTED.values():
        assert ("REDIS_URL" in refusal.sentence) == bool(refusal.for_host)


def test_a_port_that_says_nothing_is_given_up_in_time_and_called_nothing() -> None:
    (closed,) = free_ports(1)

    async def main() -> None:
        with trio.fail_after(WITHIN_S):
            assert await spoken_at([Place(HOST, closed)]) is None
            assert await spoken_at([Place(HOST, silent.getsockname()[1])]) is None
            assert await spoken_at([]) is None

    with socket.create_server((HOST, 0)) as silent:
        trio.run(main)


@pytest.mark.parametrize(
    ("url", "without", "database"),
    [
        ("redis://u:p@h:1/15?x=1", "redis://u:p@h:1?x=1", 15),
        ("redis://h", "redis://h", 0),
        ("unix:///a/b?db=3&x=1", "unix:///a/b?x=1", 3),
        ("unix:///a/b?db=3", "unix:///a/b", 3),
        ("unix:///a/b", "unix:///a/b", 0),
    ],
)
def test_the_database_is_read_from_an_address_and_taken_out_of_it(
    url: str, without: str, database: int
) -> None:
    assert Aim(url).database == database
    assert without_database(url) == without
