"""What the README shows of the library runs as it stands there, and so do the examples."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from actor_queue import Settings
from tests.servers import Server, delete_namespace

ROOT = Path(__file__).parent.parent
PATIENCE_S = 180


def block(holding: str) -> str:
    """The one Python block of the README that has `holding` in it."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (found,) = (text for text in blocks if holding in text)
    return str(found)


def environment(server: Server) -> dict[str, str]:
    ours = ("AQ_", "REDIS_", "WEBHOOK_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    return kept | {"REDIS_URL": server.url, "AQ_NAMESPACE": f"readme{os.getpid()}"}


def ran(arguments: list[str], directory: Path, server: Server) -> str:
    """What it printed; it must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment(server),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def server(valkey_server: Server) -> Iterator[Server]:
    yield valkey_server
    with valkey_server.client() as client:
        delete_namespace(client, f"readme{os.getpid()}")
        delete_namespace(client, "demo")


@pytest.mark.parametrize(
    ("holding", "printed"),
    [
        ("trio.run(main)", "joao.silva ['Oi', 'tudo bem?']\n"),
        ("asyncio.run(main())", "joao.silva [('Oi', datetime.datetime("),
    ],
)
def test_what_is_pasted_from_the_readme_runs_and_delivers(
    holding: str, printed: str, server: Server, tmp_path: Path
) -> None:
    # The server is the test's; not a character besides is different.
    pasted = block(holding).replace("redis://localhost", server.url)
    (tmp_path / "pasted.py").write_text(pasted)
    assert ran(["pasted.py"], tmp_path, server).startswith(printed)


def test_the_test_in_the_readme_passes_and_can_fail(server: Server, tmp_path: Path) -> None:
    text = block("MemoryQueue")
    (tmp_path / "test_pasted.py").write_text(text)
    assert "1 passed" in ran(["-m", "pytest", "-q", "test_pasted.py"], tmp_path, server)
    (tmp_path / "test_pasted.py").write_text(text.replace("advance(14.9)", "advance(15)"))
    with pytest.raises(AssertionError):
        ran(["-m", "pytest", "-q", "test_pasted.py"], tmp_path, server)


def test_the_readme_and_the_examples_pass_a_strict_type_check(
    server: Server, tmp_path: Path
) -> None:
    for number, holding in enumerate(("trio.run(main)", "asyncio.run(main())", "MemoryQueue")):
        (tmp_path / f"pasted{number}.py").write_text(block(holding))
    examples = sorted((ROOT / "examples").rglob("*.py"))
    for example in examples:
        (tmp_path / example.name).write_text(example.read_text())
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = true\n[mypy-aiogram.*]\nignore_missing_imports = true\n"
    )
    assert f"Success: no issues found in {3 + len(examples)} source files" in ran(
        ["-m", "mypy", "."], tmp_path, server
    )


@contextmanager
def serving(server: Server, printed: Path) -> Iterator[str]:
    """The address of the example for FastAPI."""
    command = [sys.executable, "-m", "uvicorn", "--no-access-log", "--port", "0", "fastapi_bot:app"]
    with printed.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT / "examples",
            env=environment(server) | {"AQ_DEFAULT_TTL": "3"},
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"running on (http://\S+)", line):
                    yield found[1]
                    break
            else:
                raise AssertionError("uvicorn ended")
        finally:
            process.terminate()
            process.stderr.read()
            process.wait(PATIENCE_S)
            process.stderr.close()


def test_the_example_for_fastapi_answers_a_burst_once(server: Server, tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    with serving(server, printed) as url:
        for text, name in (("Oi", "1"), ("tudo bem?", "2"), ("tudo bem?", "2")):
            body = f'{{"user": "joao.silva", "text": "{text}", "id": "{name}"}}'.encode()
            request = urllib.request.Request(
                f"{url}/webhook", body, {"content-type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                assert response.status == 202
        deadline = time.monotonic() + PATIENCE_S
        while not printed.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert printed.read_text() == "to joao.silva, about 2 messages: ['Oi', 'tudo bem?']\n"


def test_the_example_for_telegram_answers_a_burst_once_and_gives_up_who_blocked_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    from telegram_bot import Conversation  # type: ignore[import-not-found]

    class Forbidden(Exception): ...

    class Bot:
        def __init__(self) -> None:
            self.sent: list[tuple[int, str]] = []
            self.refused = asyncio.Event()

        async def send_message(self, chat_id: int, text: str) -> None:
            if chat_id == 2:
                self.refused.set()
                raise Forbidden
            self.sent.append((chat_id, text))

    async def main() -> None:
        settings = Settings(redis_url=server.url, namespace=f"readme{os.getpid()}", shards=2)
        bot = Bot()
        talk = Conversation(bot, settings, blocked=Forbidden, quiet_s=2)
        async with asyncio.timeout(PATIENCE_S), talk.queue:
            for chat, number, text in ((1, 1, "Oi"), (2, 1, "Oi"), (1, 2, None), (1, 2, None)):
                message = SimpleNamespace(
                    message_id=number, text=text, chat=SimpleNamespace(id=chat)
                )
                await talk.on_message(message)
            await bot.refused.wait()
            while not (bot.sent and (await talk.queue.dead()).letters):
                await asyncio.sleep(0.01)
            (letter,) = (await talk.queue.dead()).letters
        assert bot.sent == [(1, "You wrote: Oi ")]
        assert (letter.user, letter.attempts) == ("2", 1)

    asyncio.run(main())


def test_nothing_says_to_install_the_package_from_an_index_that_does_not_have_it() -> None:
    places = ["README.md", "docs", "examples", "actor_queue", "deploy"]
    files = [file for place in places for file in _texts(ROOT / place)]
    assert len(files) > 100
    from_index = re.compile(r"pip install[^\n]*[ '\"]actor-queue(?:\[\w+\])?(?=[ '\"\n])(?! @)")
    assert from_index.search("pip install actor-queue fastapi")
    assert from_index.search("`pip install 'actor-queue[testing]'`")
    wrong = [str(file) for file in files if from_index.search(file.read_text())]
    assert wrong == []


def _texts(place: Path) -> list[Path]:
    found = [place] if place.is_file() else sorted(place.rglob("*"))
    return [each for each in found if each.suffix in (".md", ".py", ".html", ".yml", ".yaml")]
