"""`/api/routes`: what is said of a route, who may pause it, and what is noted of that."""

from __future__ import annotations

import pytest

from actor_queue.core.routes import Route
from tests.http.conftest import Served, served
from tests.http.test_routes import KEYS, by, with_routes


@pytest.fixture
def bound() -> Served:
    with served(api_keys=(*KEYS, ("read", "look"))) as server:
        yield with_routes(server)


def test_each_route_is_told_with_its_state_and_its_last_minute(bound: Served) -> None:
    answer = by(bound, "look", "GET", "/api/routes")
    assert answer.json["complete"] is True
    assert [each["route"] for each in answer.json["routes"]] == ["default", "vendas"]
    assert answer.json["routes"][0] == {
        "route": "default",
        "state": "closed",
        "since": None,
        "reason": None,
        "by": None,
        "next_probe_in": None,
        "attempts": 2,
        "failed": 1,
        "answer_ms": {"p50": 40, "p99": 40},
        "waiting": 1,
    }


def test_a_pause_names_its_key_and_reason_and_is_noted(bound: Served) -> None:
    paused = by(bound, "root", "POST", "/api/routes/vendas/pause", {"reason": "rollout"})
    (route,) = paused.json["routes"]
    assert (route["state"], route["reason"]) == ("paused", "rollout")
    assert route["by"]
    assert by(bound, "root", "POST", "/api/routes/vendas/resume").json["routes"][0]["state"] == (
        "closed"
    )
    deeds = by(bound, "root", "GET", "/api/deeds").json["deeds"]
    assert [(each["deed"], each["route"]) for each in deeds] == [
        ("resume", "vendas"),
        ("pause", "vendas"),
    ]


def test_only_admin_pauses_and_a_bound_key_only_its_own_route(bound: Served) -> None:
    for verb in ("pause", "resume"):
        assert by(bound, "look", "POST", f"/api/routes/vendas/{verb}").status == 403
        assert by(bound, "wrong", "POST", f"/api/routes/vendas/{verb}").status == 401
        assert by(bound, "do", "POST", f"/api/routes/default/{verb}").status == 403
        assert by(bound, "do", "POST", f"/api/routes/vendas/{verb}").status == 200
    seen = by(bound, "see", "GET", "/api/routes").json["routes"]
    assert [each["route"] for each in seen] == ["vendas"]


def test_a_test_goes_to_a_route_that_there_is_and_that_the_key_is_an_admins_of(
    bound: Served,
) -> None:
    def sent(key: str, route: str) -> int:
        return by(bound, key, "POST", f"/api/routes/{route}/test").status

    # Without its keeper, which `actor-queue serve` puts there, this process sends none.
    assert sent("root", "default") == sent("do", "vendas") == 503
    assert sent("do", "default") == sent("look", "vendas") == sent("see", "vendas") == 403
    assert sent("wrong", "vendas") == 401
    assert sent("root", "suporte") == 404
    assert by(bound, "root", "GET", "/api/routes/vendas/test").status == 405


def test_a_route_that_nobody_configured_cannot_be_paused(bound: Served) -> None:
    for name in ("suporte", "a%20b", "x" * 65):
        assert by(bound, "root", "POST", f"/api/routes/{name}/pause").status == 404
    assert by(bound, "root", "POST", "/api/routes/vendas/pause", {"reason": 7.5}).status == 422
    assert by(bound, "root", "GET", "/api/routes/vendas/pause").status == 405
    assert by(bound, "root", "GET", "/api/routes?limit=1").json["field"] == "limit"


def test_a_bound_key_does_not_learn_which_other_routes_there_are(bound: Served) -> None:
    for verb in ("pause", "resume"):
        said = {
            by(bound, "do", "POST", f"/api/routes/{name}/{verb}").body
            for name in ("default", "suporte")
        }
        assert len(said) == 1
        assert b'"status":403' in said.pop()


def test_users_of_a_route_on_which_nothing_goes_are_told_with_the_reason(bound: Served) -> None:
    """A user of whom nothing waits is not: nothing is kept back."""
    message = {"user": "ana", "message": "oi", "route": "vendas"}
    assert by(bound, "root", "POST", "/api/message", message).status == 202

    def said() -> set[str | None]:
        (listed,) = by(bound, "root", "GET", "/api/users").json["users"]
        alone = by(bound, "root", "GET", "/api/users/ana?route=vendas").json
        return {listed["blocked"], alone["blocked"]}

    assert said() == {None}
    assert by(bound, "root", "POST", "/api/routes/vendas/pause").status == 200
    assert said() == {"paused"}
    assert by(bound, "root", "GET", "/api/users/bia?route=vendas").json["blocked"] is None
    bound.engine.routes.replace([Route.default(bound.engine.settings)])
    assert said() == {"missing"}
