"""AQ_CONFIG: where the file comes from, and what starts with it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
import trio

from actor_queue.app import workers
from actor_queue.app.config import Setup, load_setup, read_written, written
from actor_queue.app.listening import Sockets
from actor_queue.core.config_file import FILE_BYTES_MAX, read_config
from actor_queue.core.settings import Settings, SettingsError

REDIS = {"REDIS_URL": "redis://localhost"}
ROUTE = '[routes.a]\nurl = "http://${HOST_A}"\n'


def load(path: Path, dotenv: Path | None = None, **values: str) -> Setup:
    return load_setup({**REDIS, "AQ_CONFIG": str(path), **values}, dotenv, {}, serving=True)


def refusal(path: Path, **values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path, **values)
    [said] = caught.value.sentences
    return said


def test_a_service_with_routes_needs_no_webhook_url(tmp_path: Path) -> None:
    file = tmp_path / "aq.toml"
    file.write_text("\ufeff" + ROUTE)
    settings, config = load(file, HOST_A="bot")
    assert settings.webhook_url is None
    assert [(route.name, route.url) for route in config.all_routes(settings)] == [
        ("a", "http://bot")
    ]
    file.write_text("# nothing yet")
    assert refusal(file).startswith(f"WEBHOOK_URL is not set and {file} has no route: say where")
    assert load(file, WEBHOOK_URL="http://d").config.routes == ()


def test_a_variable_comes_from_the_environment_or_else_from_the_env_file(tmp_path: Path) -> None:
    file, dotenv = tmp_path / "aq.toml", tmp_path / ".env"
    file.write_text(ROUTE)
    dotenv.write_text("HOST_A=in-the-file")
    assert load(file, dotenv, HOST_A=" ").config.routes[0].url == "http://in-the-file"
    assert load(file, dotenv, HOST_A="nearer").config.routes[0].url == "http://nearer"


def test_a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "aq.toml"
    os.mkfifo(pipe)
    refused: list[str] = []
    reader = threading.Thread(target=lambda: refused.append(refusal(pipe)), daemon=True)
    reader.start()
    reader.join(10)
    assert refused == [f"AQ_CONFIG is '{pipe}', which cannot be read: it is not a regular file"]


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "aq.toml"
    assert (
        refusal(file) == f"AQ_CONFIG is '{file}', which cannot be read: No such file or directory"
    )
    file.write_bytes(b"\xff")
    assert refusal(file).endswith("cannot be read: it is not UTF-8 text")
    file.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    assert refusal(file).endswith(f"it has more than {FILE_BYTES_MAX} bytes")
    assert refusal(Path("/dev/null")).endswith("it is not a regular file")
    file.write_text("x")
    assert refusal(file).startswith(f"{file}, line 1: this is not TOML")


def test_a_parent_hands_its_workers_what_it_has_read(tmp_path: Path) -> None:
    file = tmp_path / "aq.toml"
    file.write_text(
        f'{ROUTE}headers = {{ x = "y" }}\nretry_schedule = [1, 2]\n[doors.d]\nkind = "waha"'
    )
    config = load(file, HOST_A="bot").config
    assert read_written(json.loads(json.dumps(written(config)))) == config


def test_a_worker_may_drain_for_as_long_as_the_slowest_route_takes() -> None:
    settings = Settings()
    slow, quick = (
        read_config(f'[routes.a]\nurl = "http://a"\ntimeout = {seconds}', {}, settings)
        for seconds in (90, 1)
    )
    crew = workers._Crew(settings, quick, Sockets([], []), dev=False, command=[])
    assert crew.drain_s == 30 + workers.DRAIN_MARGIN_S
    trio.run(crew.use_config, slow)
    assert crew.drain_s == 90 + workers.DRAIN_MARGIN_S
    trio.run(crew.use_config, quick)
    assert crew.drain_s == 90 + workers.DRAIN_MARGIN_S, "an attempt may still be under way"


@pytest.mark.parametrize("bind", ["0.0.0.0:8000", "127.0.0.1:0"])
def test_a_receiver_may_answer_later_only_where_it_can_know_the_address(bind: str) -> None:
    values = {"WEBHOOK_URL": "https://bot.example/", "AQ_ANSWER": "later", "AQ_BIND": bind}
    values["AQ_ALLOW_ANONYMOUS"] = "true"
    with pytest.raises(SettingsError, match="AQ_PUBLIC_URL is not set, and the receiver of"):
        load_setup({**REDIS, **values}, None, {}, serving=True)
    load_setup({**REDIS, **values, "AQ_PUBLIC_URL": "https://q.example"}, None, {}, serving=True)
    load_setup({**REDIS, **values, "AQ_BIND": "127.0.0.1:8000"}, None, {}, serving=True)
    load_setup({**REDIS, **values, "AQ_ANSWER": "now"}, None, {}, serving=True)
