"""`--route`: from the terminal, too, a conversation is a user of a route."""

from __future__ import annotations

from dataclasses import replace

from actor_queue.core.conversation import Conversation
from actor_queue.core.message import Message
from actor_queue.core.routes import Route
from tests.cli.conftest import Ours, Run

VENDAS = Conversation("vendas", "ana").key


def with_routes(ours: Ours) -> None:
    default = Route.default(ours.engine.settings)
    ours.engine.routes.replace([default, replace(default, name="vendas")])


def test_a_message_is_sent_to_a_route_and_what_waits_there_is_shown(run: Run, ours: Ours) -> None:
    with_routes(ours)
    sent = run("send", "ana", "oi", "--route", "vendas", "--url", ours.url)
    assert (sent.status, sent.err, "vendas" in sent.out) == (0, "", True)
    assert list(ours.engine.messages) == [VENDAS]
    shown = run("user", "ana", "--route", "vendas", "--url", ours.url)
    assert (shown.status, "vendas" in shown.out) == (0, True)
    assert run("user", "ana", "--url", ours.url).status == 1
    refused = run("send", "ana", "oi", "--route", "suporte", "--url", ours.url)
    assert (refused.status, "default, vendas" in refused.err) == (1, True)


def test_lists_name_the_route_of_those_who_are_not_on_the_default_one(run: Run, ours: Ours) -> None:
    for user in ("ana", VENDAS):
        ours.engine.messages[user].append(Message(user, b"{}", 9_000, "m", True))
    both = run("users", "--url", ours.url).out
    assert both.count("ana") == 2
    assert both.count("ana (route vendas)") == 1
    one = run("users", "--route", "vendas", "--url", ours.url).out
    assert one.count("ana") == 1


def test_verbs_for_one_and_for_many_keep_to_their_route(run: Run, ours: Ours) -> None:
    with_routes(ours)
    for verb in ("hold", "release"):
        ours.engine.messages[VENDAS].append(Message(VENDAS, b"{}", 9_000, "m", True))
        said = run(verb, "ana", "--route", "vendas", "--url", ours.url)
        assert (said.status, "vendas" in said.out) == (0, True), verb
    ours.engine.messages[VENDAS].append(Message(VENDAS, b"{}", 9_000, "m", True))
    ours.engine.messages["ana"].append(Message("ana", b"{}", 9_000, "m", True))
    dropped = run("drop", "ana", "--route", "vendas", "--yes", "--reason", "x", "--url", ours.url)
    assert (dropped.status, dropped.err) == (0, "")
    assert list(ours.engine.messages) == ["ana"]
    assert run("flush", "--route", "vendas", "--yes", "--url", ours.url).status == 0
    assert [wanted.route for _, wanted, _, _ in ours.engine.for_many] == ["vendas"]


def test_dead_letters_are_listed_by_route(run: Run, ours: Ours) -> None:
    ours.engine.bury("b1", "ana")
    ours.engine.bury("b2", VENDAS)
    said = run("dead", "list", "--route", "vendas", "--url", ours.url).out
    assert ("b1" in said, "b2" in said) == (False, True)


def test_a_route_is_shown_paused_and_resumed(run: Run, ours: Ours) -> None:
    with_routes(ours)
    paused = run("pause", "vendas", "--reason", "rollout", "--url", ours.url)
    assert (paused.status, "paused" in paused.out, "rollout" in paused.out) == (0, True, True)
    shown = run("routes", "--url", ours.url)
    assert (shown.status, "default" in shown.out, "vendas" in shown.out) == (0, True, True)
    assert run("resume", "vendas", "--url", ours.url).status == 0
    unknown = run("pause", "suporte", "--url", ours.url)
    assert (unknown.status, unknown.out) == (1, "")
