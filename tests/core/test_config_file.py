"""The file of AQ_CONFIG: what a route says, and the one sentence about each mistake."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest

from actor_queue.core.config_file import DOOR_KEYS, ROUTE_KEYS, TEXT_CHARS_MAX, Config, read_config
from actor_queue.core.doors import RECONNECT_S, Door
from actor_queue.core.routes import ROUTES_MAX, Route
from actor_queue.core.settings import Settings, SettingsError

SECRET = "whsec_" + base64.b64encode(b"hunter2-hunter2-hunter2-hunter2-").decode()
OTHER = "whsec_" + base64.b64encode(b"another-another-another-another-").decode()
SETTINGS = Settings(config="aq.toml", max_wait_ms=60_000, max_ttl_ms=3_600_000)
VARIABLES = {"VENDAS_SECRET": SECRET, "VENDAS_TOKEN": "hunter2", "WAIT": "90", "EMPTY": ""}


def read(
    text: str, settings: Settings = SETTINGS, environ: Mapping[str, str] = VARIABLES
) -> Config:
    return read_config(text, environ, settings)


def refusals(text: str, settings: Settings = SETTINGS) -> tuple[str, ...]:
    """The sentences, in which nothing is that may be secret."""
    with pytest.raises(SettingsError) as caught:
        read(text, settings)
    for said in caught.value.sentences:
        assert "hunter2" not in said
        assert SECRET not in said
        assert "\n" not in said
    return caught.value.sentences


def refusal(line: str) -> str:
    [said] = refusals(f'[routes.a]\nurl = "http://a"\n{line}')
    start = "aq.toml, line 3: routes.a."
    assert said.startswith(start), said
    return said.removeprefix(start)


def test_a_route_has_what_its_table_says_and_the_settings_for_the_rest() -> None:
    [route] = read(
        """
        [routes.vendas]
        url = "https://n8n.example/webhook/vendas"
        secret = "${VENDAS_SECRET}"
        headers = { authorization = "Bearer ${VENDAS_TOKEN}", X-Team = "a" }
        ttl = 8
        max_wait = "${WAIT}"
        max_messages = 7
        max_batch_bytes = "2 KiB"
        payload = "detailed"
        timeout = 2.5
        retry_schedule = [0.5, 3]
        max_deliveries = 5
        answer = "later"
        answer_within = 90
        """
    ).routes
    assert route == Route(
        name="vendas",
        url="https://n8n.example/webhook/vendas",
        secrets=(SECRET,),
        headers=(("authorization", "Bearer hunter2"), ("x-team", "a")),
        default_ttl_ms=8_000,
        max_wait_ms=90_000,
        max_messages=7,
        max_batch_bytes=2_048,
        payload="detailed",
        timeout_ms=2_500,
        retry_schedule_ms=(500, 3_000),
        max_deliveries=5,
        answer="later",
        answer_within_ms=90_000,
    )


def test_what_belongs_to_one_receiver_is_not_the_default_of_another() -> None:
    settings = Settings(
        webhook_url="http://d",
        webhook_secrets=(SECRET,),
        webhook_headers=(("authorization", "hunter2"),),
        max_wait_ms=9_000,
        answer="later",
        answer_within_ms=7_000,
    )
    first, second = read('[routes.a]\nurl = "http://a"', settings).all_routes(settings)
    assert first == Route.default(settings)
    assert (first.answer, first.answer_within_ms) == ("later", 7_000)
    assert (second.secrets, second.headers) == ((), ())
    assert second == Route(
        **{
            **{name: getattr(first, name) for name in Route.__slots__},
            "name": "a",
            "url": "http://a",
            "secrets": (),
            "headers": (),
        }
    )


def test_two_secrets_are_a_list_or_one_text() -> None:
    for secret in (f'["{SECRET}", "{OTHER}"]', f'"{SECRET} {OTHER}"'):
        [route] = read(f'[routes.a]\nurl = "http://a"\nsecret = {secret}').routes
        assert route.secrets == (SECRET, OTHER)


def test_the_default_route_may_stand_in_the_file_where_the_environment_has_none() -> None:
    text = '[routes.default]\nurl = "http://a"'
    config = read(text)
    assert config.has_default
    assert [route.name for route in config.all_routes(SETTINGS)] == ["default"]
    assert refusals(text, Settings(config="aq.toml", webhook_url="http://d")) == (
        "aq.toml, line 1: routes.default is here, and WEBHOOK_URL says the same:"
        " take one of them away",
    )


def test_a_dollar_may_be_written_and_so_may_the_sign_of_a_variable() -> None:
    [route] = read('[routes.a]\nurl = "http://a/$x?$${VENDAS_TOKEN}"').routes
    assert route.url == "http://a/$x?${VENDAS_TOKEN}"


def test_all_mistakes_are_told_at_once_each_with_its_line() -> None:
    text = """\
[routes.vendas]
url = "ftp://hunter2@x"
ttl = "soon"
answr = "later"
[routes."a b"]
url = "http://a"
[routes.c]
ttl = 8
[doorss]
"""
    assert refusals(text) == (
        "aq.toml, line 9: doorss is not a table of this file; did you mean doors?",
        "aq.toml, line 4: routes.vendas.answr is not a key of a route; did you mean answer?",
        "aq.toml, line 2: routes.vendas.url is a value that cannot be used (it is not shown here):"
        " its scheme is neither http nor https; allowed: http:// or https:// with a host",
        "aq.toml, line 3: routes.vendas.ttl is 'soon'; allowed: seconds from 0 to 31536000,"
        " fractions too",
        "aq.toml, line 5: routes.'a b' is no name for a route; allowed: 1 to 64 letters of ASCII,"
        " digits, dots, dashes, underscores",
        "aq.toml, line 7: routes.c.url is missing: say where the batches of this route go",
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ttl = true", "ttl is True; allowed: seconds"),
        ("ttl = nan", "ttl is nan; allowed: seconds"),
        ("ttl = -1", "ttl is -1; allowed: seconds"),
        ("ttl = 1979-05-27", "ttl is a date or a time; allowed: seconds"),
        ("ttl = {}", "ttl is a table; allowed: seconds"),
        ("ttl = [1]", "ttl is [1]; allowed: seconds"),
        ('ttl = "${VENDAS_TOKEN}"', "ttl is '${VENDAS_TOKEN}'; allowed: seconds"),
        ("ttl = 3601", "ttl is 3601; allowed: at most AQ_MAX_TTL, which is 3600"),
        ("max_messages = 1.5", "max_messages is 1.5; allowed: a whole number from 1 to 10000"),
        ("retry_schedule = []", "retry_schedule is []; allowed: 1 to 100 numbers"),
        ("answer_within = 901", "answer_within is 901; allowed: seconds from 0.1 to 900"),
        ('answer = "never"', "answer is 'never'; allowed: now or later"),
        ('payload = ""', "payload is ''; allowed: classic or detailed"),
        (f'payload = "{"a" * 99}"', f"payload is '{'a' * 79}…; allowed: classic"),
        ('secret = "hunter2"', "secret is a value that cannot be used (it is not shown here);"),
        ('secret = "${GONE}"', "secret needs ${GONE}, and GONE is not set in the environment"),
        ('secret = "${EMPTY}"', "secret needs ${EMPTY}, and EMPTY is not set"),
        ('secret = "${hunter2 x}"', "secret has ${ without the name of a variable"),
        ('secret = "${VENDAS_SECRET"', "secret has ${ without the name of a variable"),
        ('headers = "hunter2"', "headers is a value that cannot be used (it is not shown here);"),
        ('headers = { x = "hunter2\\n" }', "headers is a value that cannot be used (it is not"),
        ('headers = { x = "${GONE}" }', "headers.x needs ${GONE}"),
        ("headers = { x = 2 }", "the value of x is not a text"),
        ('headers = { x = "hunter2ã" }', "the value of x is not ASCII"),
        ('headers = { Webhook-Id = "x" }', "webhook-id is set by the service itself"),
        ('headers = { aq-answer-url = "x" }', "aq-answer-url is set by the service itself"),
        ('headers = { "x y" = "hunter2" }', "one of the names is none that a header can have"),
        ('headers = { a = "b", A = "hunter2" }', "a is there twice"),
        ('nonsense = "hunter2"', "nonsense is not a key of a route; known: url, secret"),
    ],
)
def test_a_value_that_is_not_allowed_is_told_with_what_is(line: str, said: str) -> None:
    assert said in refusal(line)


def test_two_ways_to_authorize_are_a_contradiction() -> None:
    text = '[routes.a]\nurl = "http://u:hunter2@a"\nheaders.authorization = "hunter2"'
    [said] = refusals(text)
    assert said.startswith("aq.toml, line 3: routes.a.headers has an authorization, and so has")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = hunter2", "line 2: this is not TOML: a text needs quotation marks"),
        ("[routes.hunter2]\n[routes.hunter2]", "line 2: this is not TOML: this table is there"),
        ("[routes.a]\nhunter2 = 1\nhunter2 = 2", "line 3: this is not TOML: this key is there"),
        ('a = 1\n\nb = """\nhunter2\n', "line 4: this is not TOML"),
        ("hunter2", "line 1: this is not TOML: after a key belongs = and its value"),
        ("[" * 100_000, "line 1: this is not TOML"),
        ("routes = 1", "line 1: routes is a number; allowed: a table, as in [routes.NAME]"),
        (
            "routes.a = true",
            "line 1: routes.a is true or false; allowed: a table, as in",
        ),
        ("[[routes]]", "line 1: routes is a list; allowed: a table, as in [routes.NAME]"),
        ("routes.a = 'x'", "line 1: routes.a is a text; allowed: a table"),
    ],
)
def test_what_is_no_table_of_routes_is_refused_with_its_line(text: str, said: str) -> None:
    assert refusals(text)[0].startswith(f"aq.toml, {said}")


def test_there_is_a_limit_on_routes_and_on_what_variables_bring() -> None:
    many = "".join(f'[routes.r{n}]\nurl = "http://a"\n' for n in range(ROUTES_MAX + 1))
    assert refusals(many) == (
        f"aq.toml, line 1: routes has {ROUTES_MAX + 1} tables; allowed: at most {ROUTES_MAX}",
    )
    long = {"LONG": "x" * 1_000}
    named = "${LONG}" * (TEXT_CHARS_MAX // 1_000)
    with pytest.raises(SettingsError, match="with it the texts of the file have more than"):
        read(f'[routes.a]\nurl = "http://a/{named}"', environ=long)


def test_every_key_of_a_route_is_one_of_its_fields() -> None:
    assert {field for _, field in ROUTE_KEYS.values()} | {"name", "networks"} == set(
        Route.__slots__
    )


# Doors


DOOR = """
[routes.vendas]
url = "http://a"
[doors.loja]
kind = "evolution"
route = "vendas"
secret = ["${DOOR}", "another-secret"]
groups = "sender"
own_messages = "ignore"
hold = 90
max_age = 60
[doors.other]
kind = "telegram"
"""


def test_a_door_has_what_its_table_says_and_its_platforms_ways_for_the_rest() -> None:
    first, second = read(DOOR, environ={"DOOR": "hunter2-hunter2"}).doors
    assert first == Door(
        name="loja",
        kind="evolution",
        route="vendas",
        secrets=("hunter2-hunter2", "another-secret"),
        groups="sender",
        own_messages="ignore",
        hold_ms=90_000,
        max_age_s=60,
    )
    assert second == Door(name="other", kind="telegram")
    [waha] = read('[doors.x]\nkind = "waha"').doors
    assert waha.max_age_s == RECONNECT_S
    assert {field for _, field in DOOR_KEYS.values()} | {"name"} == set(Door.__slots__)


def test_a_platforms_own_door_keeps_its_secret_unless_the_file_has_another() -> None:
    settings = Settings(door_evolution_secrets=("hunter2-of-the-environment",))
    text = '[routes.a]\nurl = "http://a"\n[doors.evolution]\nroute = "a"'
    config = read(text, settings)
    [door] = config.doors
    assert (door.kind, door.route, door.max_age_s) == ("evolution", "a", RECONNECT_S)
    assert door.secrets == settings.door_evolution_secrets
    names = [each.name for each in config.all_doors(settings)]
    assert names == ["evolution", "waha", "cloud", "chatwoot", "telegram"]
    assert config.all_doors(settings)[0] == door
    [other] = read('[doors.evolution]\nkind = "waha"', settings).doors
    assert other == Door(name="evolution", kind="waha", max_age_s=RECONNECT_S)


def test_what_is_wrong_with_a_door_is_told_with_its_line() -> None:
    text = """\
[routes.vendas]
url = "http://a"
[doors.a]
[doors.b]
kind = "whatsapp"
secret = "hunter2"
[doors.c]
kind = "waha"
route = "venda"
[doors.d]
kind = "waha"
groups = "all"
max_age = 90000
hold = 0
secrets = "hunter2"
[doors."e/f"]
kind = "waha"
"""
    start = "aq.toml, line"
    platforms = "evolution, waha, cloud, chatwoot or telegram"
    assert refusals(text) == (
        f"{start} 3: doors.a.kind is missing; allowed: {platforms}",
        f"{start} 5: doors.b.kind is 'whatsapp'; allowed: {platforms}",
        f"{start} 6: doors.b.secret is a value that cannot be used (it is not shown here);"
        " allowed: one secret, or two separated by a space, each of 8 to 256 letters, digits and"
        " signs of ASCII",
        f"{start} 9: doors.c.route is 'venda', and there is no such route; did you mean vendas?",
        f"{start} 15: doors.d.secrets is not a key of a door; did you mean secret?",
        f"{start} 12: doors.d.groups is 'all'; allowed: ignore, chat or sender",
        f"{start} 14: doors.d.hold is 0; allowed: seconds from 1 to 604800, fractions too",
        f"{start} 13: doors.d.max_age is 90000; allowed: a whole number from 1 to 86400",
        f"{start} 16: doors.'e/f' is no name for a door; allowed: 1 to 64 letters of ASCII, digits,"
        " dots, dashes, underscores",
    )
