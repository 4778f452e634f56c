"""What a REDIS_URL of many servers says, and which of them has a key."""

from __future__ import annotations

from typing import Any, cast

import pytest

from actor_queue.store.api import StoreMisconfigured
from actor_queue.store.scripts import all_scripts, script
from actor_queue.transport.address import Place, nodes
from actor_queue.transport.cluster import slot_map, slot_of
from actor_queue.transport.pipe import discard
from tests.store import slots


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("redis+cluster://h:1/1", "database 0"),
        ("redis+cluster://h:1?color=red", "option"),
        ("redis+cluster://h:1?tls=maybe", "true or false"),
        ("redis+cluster://h:1?ssl_ca_certs=/x", "tls=true"),
        ("redis+cluster://h:1?tls=true&ssl_ca_certs=/nowhere.pem", "No such file"),
        ("redis+sentinel://h:1", "names sentinels and no primary"),
        ("redis+sentinel://h:x/name", "cannot be understood"),
        ("redis+sentinel://[::1:6379/name", "cannot be understood"),
        ("redis+cluster://a:1,[nonsense]:3", "cannot be understood"),
    ],
)
def test_a_url_that_contradicts_itself_is_refused(url: str, word: str) -> None:
    with pytest.raises(StoreMisconfigured, match=word) as caught:
        nodes(url)
    assert "\n" not in str(caught.value)


def test_a_url_s_hosts_user_and_password_are_read_as_they_stand() -> None:
    found = nodes("redis+cluster://us%40er:p%2Fw@a:1,b,[::1]:3/0")
    assert found.seeds == (Place("a", 1), Place("b", 6379), Place("::1", 3))
    assert "p/w" not in repr(found)
    connection = cast("Any", found.server(Place("a", 1)))
    assert (connection._username, connection._password) == ("us@er", "p/w")
    discard(connection)


@pytest.mark.parametrize("key", [b"aq:meta", b"{aq:7}:u:{x}", b"{}:a", b"a{b", b"{aq:12}:due"])
def test_a_key_s_slot_is_what_the_specification_says(key: bytes) -> None:
    assert slot_of(key) == slots.slot_of(key)


def test_a_map_names_the_asked_host_where_a_node_does_not_know_its_own() -> None:
    reply = [
        [0, 9, [None, 1, b"id"], [b"replica", 2, b"id"]],
        [10, slots.SLOTS - 1, [b"h", 3, b"id"]],
    ]
    found = slot_map(reply, Place("asked", 9))
    assert found[9] == Place("asked", 1)
    assert found[10] == Place("h", 3)


def test_every_script_that_only_reads_says_so_in_its_first_line() -> None:
    """The runner sends these together, and the others one after the other for each slot."""
    reading = {each.name for each in all_scripts() if "no-writes" in each.source.split("\n")[0]}
    assert {"describe_v1", "due_v1", "lease_v1", "page_v1"} <= reading
    assert script("append_v2").name not in reading
