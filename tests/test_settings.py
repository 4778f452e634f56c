"""The table of settings: every name, every bound, and sentences that help."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actor_queue.core.settings import Settings, SettingsError, parse, refusals_to_serve
from actor_queue.core.variables import BY_NAME, VARIABLES

# fmt: off
CONTRACT_NAMES = frozenset((
    "REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "WEBHOOK_URL", "WEBHOOK_SECRET",
    "WEBHOOK_HEADERS", "PORT", "AQ_BIND", "AQ_PROBE_BIND", "AQ_WORKERS", "AQ_DEFAULT_TTL",
    "AQ_MAX_TTL", "AQ_MAX_WAIT", "AQ_MAX_MESSAGES", "AQ_MAX_BATCH_BYTES", "AQ_MAX_BODY",
    "AQ_MAX_PENDING", "AQ_MAX_PENDING_BYTES", "AQ_MAX_PER_ADDRESS", "AQ_MAX_CONNECTIONS",
    "AQ_DEAD_RETENTION", "AQ_DEDUP_WINDOW", "AQ_MAX_ACTORS", "AQ_REDIS_RESERVE", "AQ_MIN_PACE",
    "AQ_RETRY_SCHEDULE", "AQ_WEBHOOK_TIMEOUT", "AQ_MAX_DELIVERIES", "AQ_PAYLOAD", "AQ_SHARDS",
    "AQ_LEASE_TTL", "AQ_NAMESPACE", "AQ_DURABILITY", "AQ_API_KEYS", "AQ_ALLOW_ANONYMOUS",
    "AQ_ALLOW_EVICTION", "AQ_DATA_DIR", "AQ_ROOT_PATH", "AQ_PUBLIC_URL", "AQ_CORS_ORIGINS",
    "AQ_LOG", "AQ_LOG_LEVEL", "AQ_LOG_USERS", "AQ_KEY_FOR_METRICS", "AQ_HISTORY", "AQ_ALERT_URL",
    "AQ_DOOR_EVOLUTION_SECRET", "AQ_DOOR_WAHA_SECRET", "AQ_DOOR_CLOUD_SECRET",
    "AQ_DOOR_CLOUD_VERIFY_TOKEN", "AQ_DOOR_CHATWOOT_SECRET", "AQ_DOOR_TELEGRAM_SECRET",
    "AQ_CONFIG", "AQ_ANSWER", "AQ_ANSWER_SECRET", "AQ_ANSWER_WITHIN",
    "AQ_WEBHOOK_NETWORKS", "AQ_ORDER",
))
# fmt: on
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


def sentence(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(values)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_table_has_exactly_the_names_of_the_contract() -> None:
    assert set(BY_NAME) == CONTRACT_NAMES
    assert len(VARIABLES) == len(CONTRACT_NAMES)


def test_the_example_file_and_the_table_agree_on_names_defaults_and_meanings() -> None:
    lines = (Path(__file__).parent.parent / ".env.example").read_text().splitlines()
    listed = [
        (line.removeprefix("#"), comment)
        for comment, line in itertools.pairwise(lines)
        if line.startswith("#") and "=" in line and not line.startswith("# ")
    ]
    table = [(f"{v.name}={v.default}", f"# {v.help[0].upper()}{v.help[1:]}") for v in VARIABLES]
    assert listed == table


def test_the_defaults_in_the_table_are_the_defaults_of_the_settings() -> None:
    assert parse({}) == Settings()
    written = {v.name: v.default for v in VARIABLES if v.field is not None}
    assert parse(written) == Settings()


def test_two_messages_always_fit_into_a_batch_that_is_left_at_its_default() -> None:
    assert parse({}).max_batch_bytes == 1_048_576
    assert parse({"AQ_MAX_BODY": "1 MiB"}).max_batch_bytes == 2 * 1_048_576
    assert parse({"AQ_MAX_BODY": "1 MiB", "AQ_MAX_BATCH_BYTES": "5"}).max_batch_bytes == 5
    assert Settings(max_body_bytes=16_777_216).max_batch_bytes == 33_554_432


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("REDIS_UR", "REDIS_URL"),
        ("REDIS_URI", "REDIS_URL"),
        ("REDISURL", "REDIS_URL"),
        ("redis_url", "REDIS_URL"),
        ("REDIS_HOTS", "REDIS_HOST"),
        ("WEBHOK_URL", "WEBHOOK_URL"),
        ("WEBHOOKURL", "WEBHOOK_URL"),
    ],
)
def test_what_is_missing_and_set_under_a_name_like_it_is_named(wrong: str, right: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse({wrong: "redis://:hunter2@h"}, serving=True)
    (sentence,) = [each for each in caught.value.sentences if "did you mean" in each]
    assert f"{right.replace('HOST', 'URL')} is not set" in sentence
    assert sentence.endswith(f"{wrong} is set: did you mean {right}?")
    assert "hunter2" not in sentence


@pytest.mark.parametrize(
    "name", ["REDIS_PORT_6379_TCP", "REDIS_SERVICE_HOST", "REDIS_PORT", "WEBHOOK_SECRET", "PATH"]
)
def test_a_name_that_means_something_else_is_not_taken_for_a_slip(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse({name: "6379", "REDIS_UR": " ", "AQ_BIND": "0.0.0.0:1", "PORTS": "1"}, serving=True)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AQ_BOGUS", None),
        ("AQ_LOGS", "AQ_LOG"),
        ("AQ_SHARD", "AQ_SHARDS"),
        ("AQ_REDIS_URL", "REDIS_URL"),
        ("AQ_URL", None),
    ],
)
def test_only_a_name_that_is_close_is_proposed(name: str, meant: str | None) -> None:
    said = sentence(**{name: "1"})
    assert said.startswith(f"{name} is not a setting; ")
    assert said.endswith(f"did you mean {meant}?" if meant else "are listed in .env.example")


def test_every_field_has_a_variable() -> None:
    derived = {"redis_set_by", "redis_password_unused"}
    assert {v.field for v in VARIABLES} - {None} == set(Settings.__dataclass_fields__) - derived


def test_an_empty_text_is_the_same_as_none() -> None:
    assert parse(dict.fromkeys(CONTRACT_NAMES, "")) == Settings()
    assert parse({"AQ_SHARDS": "  "}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("AQ_DEFAULT_TTL", "0.25", 250),
        ("AQ_DEFAULT_TTL", "0", 0),
        ("AQ_DEFAULT_TTL", " 7 ", 7_000),
        ("AQ_MAX_WAIT", ".5", 500),
        ("AQ_MAX_WAIT", "0.0005", 1),
        ("AQ_REDIS_RESERVE", "2GiB", 2_147_483_648),
        ("AQ_MAX_BODY", "256kib", 262_144),
        ("AQ_RETRY_SCHEDULE", "0.1, 2 ,0", (100, 2_000, 0)),
        ("AQ_MAX_MESSAGES", "10000", 10_000),
        ("AQ_SHARDS", "16384", 16_384),
        ("AQ_LEASE_TTL", "1", 1_000),
        ("AQ_ALLOW_EVICTION", "YES", True),
        ("AQ_ALLOW_ANONYMOUS", "0", False),
        ("AQ_PAYLOAD", "detailed", "detailed"),
        ("AQ_ORDER", "sent", "sent"),
        ("AQ_DURABILITY", "fsync", "fsync"),
        ("AQ_NAMESPACE", "a.B_c-9", "a.B_c-9"),
        ("AQ_ROOT_PATH", "/redis-api", "/redis-api"),
        ("AQ_PUBLIC_URL", "https://q.example:8443/a/", "https://q.example:8443/a"),
        ("AQ_CORS_ORIGINS", "*", ("*",)),
        (
            "AQ_CORS_ORIGINS",
            "https://A.example:443/, http://localhost:3000,capacitor://localhost",
            ("https://a.example", "http://localhost:3000", "capacitor://localhost"),
        ),
        ("AQ_BIND", "[::1]:0", "[::1]:0"),
        ("AQ_BIND", "localhost:9", "localhost:9"),
        ("WEBHOOK_SECRET", f"{SECRET}  {SECRET}", (SECRET, SECRET)),
        ("WEBHOOK_HEADERS", '{"X-Bot": "a\\tb", "b": "c"}', (("x-bot", "a\tb"), ("b", "c"))),
        ("WEBHOOK_URL", "http://user:p@bot:81/x?y=1", "http://user:p@bot:81/x?y=1"),
        ("REDIS_URL", "redis://u:p%40@h:1/15", "redis://u:p%40@h:1/15"),
        ("REDIS_URL", "rediss://h", "rediss://h"),
        ("REDIS_URL", "unix:///run/r.sock?db=1", "unix:///run/r.sock?db=1"),
        ("REDIS_URL", "unix://:pw@/run/r.sock", "unix://:pw@/run/r.sock"),
        ("REDIS_URL", "redis+cluster://u:p@a:1,b:2", "redis+cluster://u:p@a:1,b:2"),
        ("REDIS_URL", "redis+sentinel://a:1,b:2/main/3", "redis+sentinel://a:1,b:2/main/3"),
    ],
)
def test_a_value_within_bounds_is_read(name: str, text: str, value: object) -> None:
    field = BY_NAME[name].field
    assert field is not None
    assert getattr(parse({name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AQ_WORKERS", "0"),
        ("AQ_WORKERS", "1.5"),
        ("AQ_WORKERS", "1_0"),
        ("AQ_WORKERS", "\u0661"),
        ("AQ_DEFAULT_TTL", "-1"),
        ("AQ_DEFAULT_TTL", "nan"),
        ("AQ_DEFAULT_TTL", "inf"),
        ("AQ_DEFAULT_TTL", "1e3"),
        ("AQ_DEFAULT_TTL", "15s"),
        ("AQ_DEFAULT_TTL", "9" * 5_000),
        ("AQ_MAX_TTL", "0"),
        ("AQ_MAX_MESSAGES", "0"),
        ("AQ_MAX_MESSAGES", "10001"),
        ("AQ_MAX_BATCH_BYTES", "1 MB"),
        ("AQ_MAX_BODY", "1"),
        ("AQ_MAX_PENDING", "0"),
        ("AQ_DEDUP_WINDOW", "0"),
        ("AQ_DEAD_RETENTION", "-1"),
        ("AQ_DEAD_RETENTION", "36501"),
        ("AQ_DEAD_RETENTION", "30d"),
        ("AQ_RETRY_SCHEDULE", "1,,2"),
        ("AQ_RETRY_SCHEDULE", "1;2"),
        ("AQ_RETRY_SCHEDULE", ",".join(["1"] * 101)),
        ("AQ_WEBHOOK_TIMEOUT", "0"),
        ("AQ_MAX_DELIVERIES", "0"),
        ("AQ_PAYLOAD", "Classic"),
        ("AQ_SHARDS", "0"),
        ("AQ_SHARDS", "16385"),
        ("AQ_LEASE_TTL", "0.9"),
        ("AQ_NAMESPACE", "a{b}"),
        ("AQ_NAMESPACE", "a" * 65),
        ("AQ_DURABILITY", "disk"),
        ("AQ_ALLOW_ANONYMOUS", "on"),
        ("AQ_ROOT_PATH", "redis-api"),
        ("AQ_ROOT_PATH", "/a/"),
        ("AQ_ROOT_PATH", "/"),
        ("AQ_BIND", "8000"),
        ("AQ_BIND", "host:65536"),
        ("AQ_BIND", "::1:80"),
        ("PORT", "http"),
        ("AQ_PUBLIC_URL", "queue.example"),
        ("AQ_PUBLIC_URL", "https://u:p@queue.example"),
        ("AQ_PUBLIC_URL", "https://queue.example/?a=1"),
        ("AQ_CORS_ORIGINS", "chat.example"),
        ("AQ_CORS_ORIGINS", "https://chat.example/page"),
        ("AQ_CORS_ORIGINS", "https://*.example"),
        ("AQ_CORS_ORIGINS", "null"),
        ("AQ_CORS_ORIGINS", "https://a.example,"),
        ("AQ_CORS_ORIGINS", ",".join(f"https://{n}.example" for n in range(101))),
    ],
)
def test_a_value_out_of_bounds_stops_with_name_value_and_what_is_allowed(
    name: str, text: str
) -> None:
    said = sentence(**{name: text})
    assert said.startswith(f"{name} is {text[:60]!r}"[:-1])
    assert said.endswith(f"allowed: {BY_NAME[name].allowed}")
    assert len(said) < 400


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AQ_API_KEYS", "hunter2"),
        ("AQ_API_KEYS", "write:hunter2"),
        ("AQ_API_KEYS", "admin:"),
        ("AQ_API_KEYS", "admin@hunter 2:k1"),
        ("AQ_API_KEYS", "admin:hunter2,"),
        ("AQ_API_KEYS", "admin:hun ter2"),
        ("AQ_API_KEYS", ",".join(f"admin:hunter2{n}" for n in range(1_001))),
        ("WEBHOOK_SECRET", "hunter2"),
        ("WEBHOOK_SECRET", "whsec_aHVudGVyMg=="),
        ("WEBHOOK_SECRET", "whsec_hunter2hunter2hunter2hunter2hunter2!"),
        ("WEBHOOK_SECRET", " ".join([SECRET] * 3)),
        ("WEBHOOK_HEADERS", "hunter2"),
        ("WEBHOOK_URL", "ftp://u:hunter2@h"),
        ("WEBHOOK_URL", "https://"),
        ("WEBHOOK_URL", "bot.example/hunter2"),
        ("WEBHOOK_URL", "https://h:99999/hunter2"),
        ("WEBHOOK_URL", "https://h/hunter2 x"),
        ("REDIS_URL", "h:6379"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "redis://:hunter2#x@h"),
        ("REDIS_URL", "redis://:hunter2/x@h"),
        ("REDIS_URL", "redis://h/hunter2"),
        ("REDIS_URL", "redis://h:0"),
        ("REDIS_URL", "unix://relative"),
        ("REDIS_URL", "http://:hunter2@h"),
        ("REDIS_URL", "redis://[:hunter2@h"),
        ("REDIS_URL", "redis+cluster://a:1,,b:2"),
        ("REDIS_URL", "redis+sentinel://a:1"),
    ],
)
def test_a_secret_value_is_refused_without_being_shown(name: str, text: str) -> None:
    said = sentence(**{name: text})
    assert said.startswith(f"{name} is ")
    assert "hunter2" not in said
    assert SECRET not in said


@pytest.mark.parametrize("keys", ["admin:a", "ingest:longer,read:b", "admin::"])
def test_a_key_of_one_character_is_refused(keys: str) -> None:
    assert "key is 2 to 256 visible" in sentence(AQ_API_KEYS=keys)


def test_a_wrong_address_shows_scheme_and_host_but_no_path() -> None:
    said = sentence(WEBHOOK_URL="ftp://bot.example/hooks/token")
    assert "ftp://bot.example" in said
    assert "token" not in said


def test_an_unknown_name_stops_with_the_nearest_known_one_and_without_its_value() -> None:
    assert sentence(AQ_DEFUALT_TTL="5") == (
        "AQ_DEFUALT_TTL is not a setting; did you mean AQ_DEFAULT_TTL?"
    )
    assert "hunter2" not in sentence(AQ_API_KEY="admin:hunter2")
    assert "AQ_" in sentence(AQ_="")
    assert parse({"PATH": "/bin", "aq_shards": "0"}) == Settings()


def test_port_alone_listens_to_the_world_and_aq_bind_wins() -> None:
    assert parse({"PORT": "3000"}).bind == "0.0.0.0:3000"
    assert parse({"PORT": "3000", "AQ_BIND": "[::1]:80"}).bind == "[::1]:80"


def test_the_parts_of_redis_make_an_address() -> None:
    assert parse({"REDIS_HOST": "db"}).redis_url == "redis://db:6379"
    parts = {"REDIS_HOST": "::1", "REDIS_PORT": "1", "REDIS_PASSWORD": " a/b@c:d "}
    assert parse(parts).redis_url == "redis://:%20a%2Fb%40c%3Ad%20@[::1]:1"
    assert parse(parts | {"REDIS_URL": "redis://other"}).redis_url == "redis://other"
    assert parse({"REDIS_PASSWORD": "x"}).redis_url is None
    assert "REDIS_PORT" in sentence(REDIS_HOST="db", REDIS_PORT="x")
    assert "REDIS_HOST" in sentence(REDIS_HOST="db/0")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_line_break_at_the_end_of_a_value_is_not_part_of_it(end: str) -> None:
    """As `kubectl create secret --from-file` and a file of docker's secrets bring it along."""
    values = {
        "REDIS_HOST": "db",
        "REDIS_PORT": "6380",
        "REDIS_PASSWORD": " p w\t",
        "WEBHOOK_URL": "https://bot/",
        "WEBHOOK_SECRET": SECRET,
        "AQ_API_KEYS": "admin:k1",
        "AQ_DATA_DIR": "/data",
    }
    ended = parse({name: text + end for name, text in values.items()})
    assert ended == parse(values)
    assert ended.redis_url == "redis://:%20p%20w%09@db:6380"
    assert parse({"REDIS_URL": "redis://h/1" + end}).redis_url == "redis://h/1"
    assert parse({"REDIS_HOST": "db", "REDIS_PASSWORD": end}).redis_url == "redis://db:6379"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDIS_URL", '"redis://:hunter2@h"'),
        ("REDIS_URL", "'redis://:hunter2@h"),
        ("REDIS_URL", "\u201credis://:hunter2@h\u201d"),
        ("WEBHOOK_URL", '"https://h/hunter2"'),
        ("WEBHOOK_SECRET", '"whsec_hunter2"'),
        ("AQ_API_KEYS", '"admin:hunter2"'),
        ("REDIS_HOST", '"db"'),
        ("AQ_SHARDS", '"64"'),
        ("AQ_DATA_DIR", '"./data"'),
    ],
)
def test_quotation_marks_around_a_value_are_named_as_the_trouble(name: str, text: str) -> None:
    said = sentence(**{name: text})
    assert said.startswith(f"{name} is ")
    assert "quotation marks" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("REDIS_URL", "localhost:6379", "no scheme: write redis:// in front"),
        ("REDIS_URL", "http://h", "write redis://"),
        ("REDIS_HOST", "redis://db:6379", "REDIS_URL"),
        ("REDIS_HOST", "db:6379", "REDIS_PORT"),
        ("WEBHOOK_URL", "bot.example/hunter2", "write https:// in front"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(name: str, text: str, words: str) -> None:
    assert words in sentence(**{name: text}).partition("allowed:")[0]


def test_settings_know_which_variable_says_where_redis_is() -> None:
    assert parse({"REDIS_HOST": "db"}).redis_set_by == "REDIS_HOST"
    assert parse({"REDIS_HOST": "db", "REDIS_URL": "redis://h"}).redis_set_by == "REDIS_URL"


def test_what_kubernetes_puts_into_redis_port_does_no_harm() -> None:
    injected = {"REDIS_PORT": "tcp://10.0.0.1:6380"}
    assert parse(injected).redis_url is None
    assert parse(injected | {"REDIS_HOST": "db"}).redis_url == "redis://db:6380"


def test_values_that_contradict_each_other_are_refused() -> None:
    assert "AQ_MAX_TTL" in sentence(AQ_DEFAULT_TTL="61", AQ_MAX_TTL="60")
    assert "another port" in sentence(AQ_BIND="[::1]:80", AQ_PROBE_BIND="[::1]:80")
    assert parse({"AQ_BIND": "127.0.0.1:0", "AQ_PROBE_BIND": "127.0.0.1:0"})
    with pytest.raises(SettingsError):
        Settings(default_ttl_ms=2, max_ttl_ms=1)
    with pytest.raises(SettingsError):
        Settings(lease_ttl_ms=999)


def test_the_repr_of_settings_shows_no_secret() -> None:
    shown = repr(
        parse(
            {
                "REDIS_URL": "redis://:hunter2@h",
                "WEBHOOK_URL": "https://u:hunter2@h/",
                "WEBHOOK_SECRET": SECRET,
                "AQ_API_KEYS": "admin:hunter2",
            }
        )
    )
    assert "hunter2" not in shown
    assert SECRET not in shown


@given(st.sampled_from(sorted(CONTRACT_NAMES)), st.text(max_size=40))
@example("AQ_MAX_TTL", "1")  # which contradicts the default of another setting, named first
def test_any_text_is_read_or_refused_with_a_sentence(name: str, text: str) -> None:
    try:
        settings = parse({name: text})
    except SettingsError as error:
        said = str(error)
    else:
        assert 0 <= settings.port <= 65_535
        said = name
    assert name in said


@pytest.mark.parametrize(
    ("bind", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("host.example:1", False),
    ],
)
def test_loopback_is_recognised(bind: str, loopback: bool) -> None:
    assert parse({"AQ_BIND": bind}).loopback_only is loopback


def mistakes(serving: bool = False, **values: str) -> list[str]:
    """The first word of each sentence, which names the variable."""
    with pytest.raises(SettingsError) as caught:
        parse(values, serving=serving)
    error = caught.value
    assert str(error).splitlines() == list(error.sentences)
    assert all(
        sentence.startswith(mistake.names)
        for sentence, mistake in zip(error.sentences, error.mistakes, strict=True)
    )
    return [sentence.split()[0] for sentence in error.sentences]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    said = mistakes(
        AQ_SHARDS="0",
        AQ_DEFUALT_TTL="5",
        AQ_SHARD="1",
        WEBHOOK_URL="bot",
        REDIS_HOST="db/0",
        REDIS_PORT="x",
        PORT="http",
        AQ_DEFAULT_TTL="61",
        AQ_MAX_TTL="60",
    )
    assert sorted(said) == sorted(
        ["AQ_DEFUALT_TTL", "AQ_SHARD", "WEBHOOK_URL", "AQ_SHARDS", "PORT", "REDIS_HOST",
         "REDIS_PORT", "AQ_DEFAULT_TTL"]
    )  # fmt: skip


def test_what_serve_needs_is_said_together_with_what_is_wrong() -> None:
    missing = ["AQ_SHARDS", "REDIS_URL", "WEBHOOK_URL"]
    assert mistakes(serving=True, AQ_SHARDS="0", PORT="80") == [*missing, "PORT"]
    assert mistakes(serving=True, AQ_SHARDS="0", PORT="80", AQ_BIND="[::]:1") == [
        *missing,
        "AQ_BIND",
    ]


def test_a_value_that_cannot_be_read_is_said_once_and_not_also_called_missing() -> None:
    assert mistakes(serving=True, REDIS_HOST="/", WEBHOOK_URL="bot", AQ_BIND="8000") == [
        "WEBHOOK_URL",
        "AQ_BIND",
        "REDIS_HOST",
    ]
    port = {"REDIS_HOST": "db", "REDIS_PORT": "99999", "WEBHOOK_URL": "http://bot"}
    assert mistakes(serving=True, **port) == ["REDIS_PORT"]
    unused = {"REDIS_PORT": "99999", "WEBHOOK_URL": "http://bot"}
    assert mistakes(serving=True, **unused) == ["REDIS_URL"]
    assert mistakes(AQ_DEFAULT_TTL="86401", AQ_MAX_TTL="x") == ["AQ_MAX_TTL"]


def test_serve_is_refused_until_redis_webhook_and_keys_are_right() -> None:
    values: dict[str, str] = {}

    def refusal(**more: str) -> str:
        values.update(more)
        return " ".join(mistake.sentence for mistake in refusals_to_serve(parse(values)))

    assert "REDIS_URL" in refusal()
    assert "hunter2" not in refusal()
    assert "WEBHOOK_URL" in refusal(REDIS_URL="redis://h")
    assert refusal(WEBHOOK_URL="http://bot") == ""
    assert "AQ_API_KEYS" in refusal(AQ_BIND="0.0.0.0:80")
    assert refusal(AQ_ALLOW_ANONYMOUS="true") == ""
    assert refusal(AQ_ALLOW_ANONYMOUS="", AQ_API_KEYS="admin:k1") == ""
