"""Addresses: the same parts on every Python, any number of hosts, and refusals that help."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actor_queue.core.url import (
    MANY_NODE_SCHEMES,
    Host,
    Unusable,
    read_redis_url,
    read_webhook_url,
    split,
)

names = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9_.-]{0,20}[a-z0-9])?", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
)
hosts = st.builds(Host, names, st.none() | st.integers(1, 65_535))
words = st.text(max_size=12)
# An unencoded bracket in a password is what `urlsplit` reads differently on different Pythons.
paths = st.from_regex(r"(/[A-Za-z0-9._~!$&'()*+,;=:%-]{0,10}){0,3}", fullmatch=True)
queries = st.from_regex(r"([a-z]{1,5}=[A-Za-z0-9/?:@.-]{0,8})?", fullmatch=True)


def written(host: Host) -> str:
    name = f"[{host.name}]" if ":" in host.name else host.name
    return name if host.port is None else f"{name}:{host.port}"


def address(scheme: str, user: str, password: str, netloc: str, rest: str) -> str:
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    return f"{scheme}://{userinfo}{netloc}{rest}"


@given(
    st.sampled_from([*MANY_NODE_SCHEMES, "redis", "https"]),
    words,
    words,
    st.lists(hosts, min_size=1, max_size=5),
    paths,
    queries,
)
def test_what_was_put_into_an_address_is_read_out_of_it_again(
    scheme: str, user: str, password: str, many: list[Host], path: str, query: str
) -> None:
    rest = path + (f"?{query}" if query else "")
    found = split(address(scheme.upper(), user, password, ",".join(map(written, many)), rest))
    assert found.scheme == scheme
    assert (found.user, found.password) == (user, password)
    assert found.hosts() == tuple(many)
    assert (found.path, found.query, found.fragment) == (path, query, "")


@given(st.sampled_from(["redis", "https"]), words, words, hosts, paths, queries)
def test_an_address_with_one_host_is_read_as_urlsplit_reads_it(
    scheme: str, user: str, password: str, host: Host, path: str, query: str
) -> None:
    text = address(scheme, user, password, written(host), f"{path}?{query}#f")
    ours, theirs = split(text), urlsplit(text)
    assert (ours.scheme, ours.path) == (theirs.scheme, theirs.path)
    assert (ours.query, ours.fragment) == (theirs.query, theirs.fragment)
    assert ours.host() == (theirs.hostname, theirs.port)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_words_that_do_not_quote_it(text: str) -> None:
    for read in (read_redis_url, read_webhook_url):
        marked = f"{text}hunter2"
        said = ""
        try:
            read(marked)
        except Unusable as error:
            said = str(error)
        assert "hunter2" not in said
        assert "\n" not in said


def test_brackets_are_for_ipv6_addresses_alone() -> None:
    assert split("redis://[::1]").host() == ("::1", None)
    for odd in ("[1.2.3.4]", "[abc]", "[::1", "::1]", "[::1]x", "[]", "[v1.a]"):
        with pytest.raises(Unusable):
            split(f"redis://{odd}:1").hosts()
    for kind, text in ((IPv4Address, "127.0.0.1"), (IPv6Address, "::ffff:127.0.0.1")):
        netloc = text if kind is IPv4Address else f"[{text}]"
        assert split(f"redis://{netloc}:1").host() == (text, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("localhost:6379", "no scheme: write redis:// in front"),
        ("http://h:6379", "write redis://"),
        ("https://h:6379", "write rediss://"),
        ("valkey://h", "write redis://"),
        ("rediss+cluster://h", "tls=true"),
        ("redis://h ost", "a space"),
        ("redis://a\nredis://b", "line break"),
        ("redis://h\u00f6st", "not ASCII"),
        ("redis://:p\u00e3o@h", "not ASCII"),
        ("redis://:p#w@h", "%23"),
        ("redis://:p/w@h", "%2F"),
        ("redis://:p?w@h", "%3F"),
        ("redis://:p[w@h", "%5B"),
        ("redis://", "no host"),
        ("redis://a,b", "several hosts"),
        ("redis://::1:6379", "needs brackets"),
        ("redis://h:70000", "65535"),
        ("redis://h:port", "no number"),
        ("redis://h/db1", "number of a database"),
        ("redis://h/1/2", "number of a database"),
        ("redis+cluster://a,b/1", "only database 0"),
        ("redis+cluster://a,,b", "empty one"),
        ("redis+sentinel://a,b", "what the sentinels call the primary"),
        ("unix://run/redis.sock", "three slashes"),
    ],
)
def test_what_is_wrong_with_an_address_of_redis_is_named(text: str, words: str) -> None:
    with pytest.raises(Unusable) as caught:
        read_redis_url(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bot.example/hook", "no scheme: write https:// in front"),
        ("redis://h", "neither http nor https"),
        ("https://a,b/x", "several hosts"),
        ("https://h/a b", "a space"),
    ],
)
def test_what_is_wrong_with_an_address_of_a_webhook_is_named(text: str, words: str) -> None:
    with pytest.raises(Unusable) as caught:
        read_webhook_url(text)
    assert words in str(caught.value)


def test_a_scheme_may_be_written_in_capitals_and_nothing_else_changes() -> None:
    assert read_redis_url("REDIS://Us:P%40w@H:1/2?x=Y") == "redis://Us:P%40w@H:1/2?x=Y"
    assert read_webhook_url("HTTPS://Bot.example/Hook?#") == "https://Bot.example/Hook?#"
