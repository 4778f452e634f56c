"""`scope[@route]:key[:name]`: what is read, what is refused, and that no key is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.api_keys import ApiKey, default_name, read, write
from actor_queue.core.settings import Settings, parse
from actor_queue.core.url import Unusable

NAMES = st.text("abcXYZ019_.-", min_size=1, max_size=40)
KEYS = st.text("".join(chr(code) for code in range(33, 127) if chr(code) != ","), min_size=2)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("admin:k1:ana", ApiKey("admin", "k1", "ana")),
        ("read:k1", ApiKey("read", "k1", default_name("k1"))),
        ("ingest@default:k1", ApiKey("ingest", "k1", default_name("k1"), "default")),
        ("ingest@default:k1:loja-2", ApiKey("ingest", "k1", "loja-2", "default")),
        ("admin:a:b:c", ApiKey("admin", "a:b", "c")),
        ("admin:se@cret:x", ApiKey("admin", "se@cret", "x")),
    ],
)
def test_a_key_may_have_a_route_and_a_name(text: str, key: ApiKey) -> None:
    assert read(text) == (key,)
    assert read(write(key)) == (key,)


@pytest.mark.parametrize(
    "text",
    ["admin", "admin:", "admin:k1:", "admin:k1:a name", "admin:k1:" + "n" * 41, "write:k1:n",
     "admin::ana", "admin:k:ana", "@default:k1", "admin@:k1", "admin@a b:k1"],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read(text)


def test_a_key_may_be_bound_to_a_route_but_not_to_what_is_no_routes_name() -> None:
    assert read("ingest@vendas:k1")[0].route == "vendas"
    with pytest.raises(Unusable, match="no name of a route"):
        read("ingest@v v:k1")


@pytest.mark.parametrize("first", ["read@vendas:hunter2", "read@vendas:hunter2:ana"])
@pytest.mark.parametrize("second", ["read@loja:hunter2", "read:hunter2", "read:hunter2:bia"])
def test_one_scope_of_a_key_is_bound_to_one_route(first: str, second: str) -> None:
    for text in (f"{first},{second}", f"{second},{first}"):
        with pytest.raises(Unusable, match="the scope read twice") as refused:
            read(text)
        assert "hunter2" not in str(refused.value)
    assert len(read(f"{first},admin:hunter2,read@loja:other")) == 3


def test_a_key_without_a_name_gets_the_same_short_one_every_time() -> None:
    assert default_name("k1") == default_name("k1") != default_name("k2")
    assert len(default_name("k1")) == len("key-") + 6
    assert Settings(api_keys=(ApiKey("admin", "k1"),)).api_keys[0].name == default_name("k1")


@given(st.sampled_from(["ingest", "read", "admin"]), KEYS, st.none() | NAMES)
def test_a_key_in_python_means_the_same_as_in_the_environment(
    scope: str, key: str, name: str | None
) -> None:
    given_ = ApiKey(scope, key, name or "")
    (found,) = Settings(api_keys=(given_,)).api_keys
    assert found == given_._replace(name=name or default_name(key))
    assert parse({"AQ_API_KEYS": write(found)}).api_keys == (found,)


def test_no_repr_shows_a_key() -> None:
    assert "hunter2" not in repr(read("admin:hunter2:ana,read:hunter2"))
