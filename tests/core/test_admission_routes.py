"""Which route a message is for, and what of that is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from actor_queue.core.admission import AdmissionPolicy
from actor_queue.core.conversation import conversation_of
from actor_queue.core.json_text import without_field
from actor_queue.core.routes import Route, RouteTable
from actor_queue.core.settings import Settings
from tests.core.messages import admitted, message, refused

SETTINGS = Settings(webhook_url="http://bot.test/", default_ttl_ms=15_000)
DEFAULT = Route.default(SETTINGS)
VENDAS = replace(DEFAULT, name="vendas", default_ttl_ms=8_000)
BOTH = AdmissionPolicy.of(SETTINGS, RouteTable([DEFAULT, VENDAS]))
ONE = AdmissionPolicy.of(SETTINGS, RouteTable([VENDAS]))


def test_a_message_is_for_the_route_that_it_names_and_waits_as_long_as_that_says() -> None:
    came = admitted(message(route="vendas"), policy=BOTH)
    assert (conversation_of(came.user), came.ttl_ms) == (("vendas", "u"), 8_000)
    assert admitted(message(route="vendas", ttl=1), policy=BOTH).ttl_ms == 1_000


@pytest.mark.parametrize("given", [None, ""])
def test_a_message_that_names_no_route_is_for_the_default_one(given: object) -> None:
    for body in (message(), message(route=given)):
        came = admitted(body, policy=BOTH)
        assert (came.user, came.ttl_ms) == ("u", 15_000)


@pytest.mark.parametrize("given", ["default", "", None])
def test_of_the_default_route_no_release_finds_anything_to_pass_through(given: object) -> None:
    body = message(route=given, x=1.50)
    assert admitted(body, policy=BOTH).body == message(x=1.50).encode()


def test_of_another_route_the_message_is_kept_as_it_came() -> None:
    body = message(route="vendas", x=1)
    assert admitted(body, policy=BOTH).body == body.encode()


@pytest.mark.parametrize("given", ["suporte", "Vendas", "default", 7])
def test_a_route_that_is_not_configured_is_refused_and_the_refusal_names_those_that_are(
    given: object,
) -> None:
    refusal = refused(message(route=given), policy=ONE)
    assert (refusal.status, refusal.field) == (422, "route")
    assert "vendas" in refusal.detail
    assert "suporte" not in refusal.detail


def test_without_a_default_route_a_message_has_to_name_one() -> None:
    refusal = refused(message(), policy=ONE)
    assert (refusal.status, refusal.field) == (422, "route")
    assert "no route default" in refusal.detail
    assert "vendas" in refusal.detail


@pytest.mark.parametrize("given", [True, 1.5, ["vendas"], {}])
def test_a_route_is_text(given: object) -> None:
    refusal = refused(message(route=given), policy=BOTH)
    assert (refusal.status, refusal.field) == (422, "route")


def test_a_routes_limits_count_from_the_moment_in_which_they_are_read_again() -> None:
    table = RouteTable([DEFAULT])
    policy = AdmissionPolicy.of(SETTINGS, table)
    assert refused(message(route="vendas"), policy=policy).field == "route"
    table.replace([DEFAULT, VENDAS])
    assert admitted(message(route="vendas"), policy=policy).ttl_ms == 8_000


def test_a_key_that_is_bound_to_a_route_gives_its_messages_that_route_and_no_other() -> None:
    bound = BOTH.bound_to("vendas")
    for body in (message(), message(route="vendas"), message(route="")):
        assert conversation_of(admitted(body, policy=bound).user) == ("vendas", "u")
    for other in ("default", "suporte"):
        refusal = refused(message(route=other), policy=bound)
        assert (refusal.status, other in refusal.detail) == (403, False)
    assert BOTH.bound_to(None) is BOTH


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ('{"r":1}', "{}"),
        ('{ "r" : [1,{"r":2}] , "a":1.10}', '{  "a":1.10}'),
        ('{"a":"r","r":1}', '{"a":"r"}'),
        ('{"a":{"r":1} ,\n "r": "x,\\"" , "b":2}', '{"a":{"r":1}  , "b":2}'),
        ('{"a":1,"\\u0072":null,"b":2}', '{"a":1,"b":2}'),
    ],
)
def test_a_field_is_taken_out_and_nothing_else_is_touched(body: str, left: str) -> None:
    found = without_field(body.encode(), "r").decode()
    assert found == left
    assert json.loads(found) == {k: v for k, v in json.loads(body).items() if k != "r"}
