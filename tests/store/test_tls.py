"""TLS to Redis: a certificate that verifies, and every way in which one does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from actor_queue import ActorQueue
from actor_queue.core.batch import Batch
from actor_queue.core.settings import Settings
from actor_queue.store.api import StoreMisconfigured
from tests.redis_topologies import HOST, Endpoint, tls_front
from tests.servers import Server

CERTIFICATE = Path(__file__).parents[1] / "webhook" / "localhost.pem"
"""For localhost and 127.0.0.1, signed by itself."""


@pytest.fixture(scope="module")
def front(valkey_server: Server) -> Iterator[Endpoint]:
    with tls_front(valkey_server.socket, CERTIFICATE) as endpoint:
        yield endpoint


def delivered(url: str, namespace: str) -> list[Batch]:
    """What comes out when one message goes in."""
    got: list[Batch] = []

    async def main() -> None:
        done = trio.Event()

        async def deliver(batch: Batch) -> None:
            got.append(batch)
            done.set()

        settings = Settings(redis_url=url, namespace=namespace, shards=2)
        with trio.fail_after(10):
            async with ActorQueue(settings, deliver=deliver) as queue:
                await queue.push("ana", "Oi", ttl=0)
                await done.wait()

    trio.run(main)
    return got


@pytest.mark.parametrize("host", ["localhost", HOST])
def test_a_certificate_that_verifies_by_its_own_ca_is_trusted(
    front: Endpoint, namespace: str, host: str
) -> None:
    url = f"rediss://{host}:{front[1]}/0?ssl_ca_certs={CERTIFICATE}"
    assert len(delivered(url, namespace)) == 1


def test_checking_can_be_switched_off_in_words(front: Endpoint, namespace: str) -> None:
    url = f"rediss://{HOST}:{front[1]}/0?ssl_cert_reqs=none"
    assert len(delivered(url, namespace)) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rediss://{host}:{port}", ("does not verify", "ssl_ca_certs")),
        ("rediss://{host}:{port}?ssl_ca_certs=/nowhere.pem", ("cannot be used", "No such file")),
        ("rediss://{host}:{port}?ssl_ca_certs={nopem}", ("cannot be used",)),
        ("redis+cluster://{host}:{port}?tls=true", ("does not verify", "ssl_ca_certs")),
        ("redis+sentinel://{host}:{port}/x?tls=true", ("does not verify", "ssl_ca_certs")),
        ("redis+cluster://{host}:{port}?tls=true&ssl_ca_certs={pem}", ("no Redis Cluster",)),
        ("redis+sentinel://{host}:{port}/x?tls=true&ssl_ca_certs={pem}", ("are none",)),
    ],
)
def test_what_does_not_verify_ends_the_start_with_one_sentence(
    front: Endpoint, namespace: str, url: str, words: tuple[str, ...]
) -> None:
    filled = url.format(host=HOST, port=front[1], pem=CERTIFICATE, nopem=Path(__file__))
    sentence = refused(filled, namespace)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence


def test_a_certificate_for_another_name_ends_the_start(
    valkey_server: Server, namespace: str
) -> None:
    with tls_front(valkey_server.socket, CERTIFICATE, "127.0.0.2") as (host, port):
        url = f"rediss://{host}:{port}?ssl_ca_certs={CERTIFICATE}"
        assert "127.0.0.2" in refused(url, namespace)
        assert len(delivered(f"{url}&ssl_check_hostname=false", namespace)) == 1


def refused(url: str, namespace: str) -> str:
    async def main() -> None:
        settings = Settings(redis_url=url, namespace=namespace)
        with trio.fail_after(10):
            async with ActorQueue(settings, deliver=_nothing):
                pass

    with pytest.raises(StoreMisconfigured) as caught:
        trio.run(main)
    return str(caught.value)


async def _nothing(batch: Batch) -> None:
    raise AssertionError(batch)
