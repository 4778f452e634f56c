"""The command line: `actor-queue dev`, `serve`, and the API from a terminal.

Owns arguments and exit statuses: 0 on success, 1 when the answer is no, 2 for wrong usage
or configuration. What a command needs is imported inside it, so that `--help` is quick and
the service carries nothing of the client.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actor_queue.core.setting_kinds import BOOLEAN
from actor_queue.core.settings import (
    VARIABLES,
    Settings,
    SettingsError,
    Variable,
)

if TYPE_CHECKING:
    from actor_queue.app.remote import Remote

NAME = "actor-queue"
DOTENV = ".env"
NO = 1
WRONG = 2

FLAGS = {variable.flag: variable for variable in VARIABLES}

USER_FIELDS = ("user", "state", "pending", "fires_in", "held_for")
DEAD_FIELDS = ("id", "user", "died_at", "attempts", "reason", "messages", "queued")
SHARD_FIELDS = ("shard", "owner", "epoch", "since", "remaining", "waiting")
REPLICA_FIELDS = ("id", "seen_ago", "shards")
ATTEMPT_FIELDS = ("at", "batch_id", "number", "outcome", "messages", "status", "reason")

app = typer.Typer(
    name=NAME,
    help="Collects bursts of chat messages and sends each user's burst as one webhook.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)
dead = typer.Typer(
    help="Batches that ran out of attempts.", rich_markup_mode=None, no_args_is_help=True
)
app.add_typer(dead, name="dead")

UserArgument = Annotated[str, typer.Argument(help="The user, exactly as it was posted.")]
IdArgument = Annotated[str, typer.Argument(help="The batch's id, which is its webhook-id.")]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Where the service is. Default: from AQ_BIND or PORT."),
]
KeyOption = Annotated[
    str | None, typer.Option("--key", help="An API key. Default: from AQ_API_KEYS.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
CursorOption = Annotated[str | None, typer.Option(help="Go on where a list ended.")]


def main() -> None:
    """The console script."""
    # Imports make objects and no garbage; walking over them costs a fifth of the start.
    gc.disable()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit status. Never raises for wrong input."""
    try:
        status = app(_one_spelling(arguments), prog_name=NAME, standalone_mode=False)
    except SettingsError as error:
        for sentence in error.sentences:
            _complain(sentence, WRONG)
        return WRONG
    except typer.TyperException as error:
        return _complain(_usage(error), error.exit_code)
    except typer.Abort:
        return _complain("stopped", NO)
    return status if isinstance(status, int) else 0


def _one_spelling(arguments: Sequence[str]) -> list[str]:
    """`--AQ_MAX_TTL=5` and `--aq-max-ttl=5` → `--max-ttl=5`, for the commands with settings."""
    if not arguments or arguments[0] not in ("dev", "serve"):
        return list(arguments)
    following = [*arguments[1:], "--"]
    return [_spell(word, after) for word, after in zip(arguments, following, strict=True)]


def _spell(word: str, after: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.removeprefix("--").partition("=")
    flag = name.lower().replace("_", "-").removeprefix("aq-")
    if flag not in FLAGS:
        return word  # reported as it was typed
    if FLAGS[flag].kind is BOOLEAN and not equals and after.startswith("--"):
        equals, value = "=", "true"
    return f"--{flag}{equals}{value}"


def _complain(sentence: str, status: int) -> int:
    print(sentence if "\n" in sentence else f"{NAME}: {sentence}", file=sys.stderr)
    return status


def _usage(error: typer.TyperException) -> str:
    """One line and where to read on; the whole help where no command was named."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if "\n" in message or context is None:
        return message
    return f"{message.rstrip('.')}; see `{context.command_path} --help`"


# The service


def _takes_settings(
    command: Callable[[Settings], int], *, serving: bool = False
) -> Callable[..., int]:
    """`command` as typer wants it, with one option for each setting."""

    def with_flags(**flags: str | None) -> int:
        given = {name.upper(): text for name, text in flags.items() if text is not None}
        return command(_settings(given, serving=serving))

    options = [_option(variable) for variable in VARIABLES]
    signature = inspect.Signature(options, return_annotation=int)
    with_flags.__signature__ = signature  # type: ignore[attr-defined]
    with_flags.__annotations__ = {option.name: option.annotation for option in options}
    with_flags.__doc__ = command.__doc__
    return with_flags


def _option(variable: Variable) -> inspect.Parameter:
    default = f" [default: {variable.default}]" if variable.default else ""
    option = typer.Option(
        f"--{variable.flag}",
        metavar=variable.name,
        help=f"{variable.help}{default}",
        show_default=False,
    )
    return inspect.Parameter(
        variable.name.lower(),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def _settings(flags: dict[str, str], *, serving: bool = False) -> Settings:
    from actor_queue.app.environment import load

    return load(os.environ, DOTENV, flags, serving=serving)


@app.command("dev")
@_takes_settings
def dev(settings: Settings) -> int:
    """Run everything on this machine, no set-up."""
    return _run(settings, dev=True)


@app.command("serve")
@partial(_takes_settings, serving=True)
def serve(settings: Settings) -> int:
    """Run in production, with your Redis and webhook."""
    return _run(settings, dev=False)


def _run(settings: Settings, *, dev: bool) -> int:
    if settings.workers > 1:
        from actor_queue.app.workers import run_workers

        return run_workers(settings, dev=dev)
    from actor_queue.app.service import run_service

    return run_service(settings, dev=dev)


# The API from a terminal


@contextmanager
def _service(url: str | None, key: str | None, scope: str) -> Iterator[Remote]:
    from actor_queue.app.remote import Refused, Remote, best_key, default_url

    if url is None or key is None:
        settings = _settings({})
        url = url or default_url(settings)
        key = key or best_key(settings, scope)
    try:
        with Remote(url, key) as remote:
            yield remote
    except Refused as refused:
        raise typer.Exit(_complain(str(refused), NO)) from None


def _segment(what: str) -> str:
    from actor_queue.app.remote import segment

    if not what:
        raise typer.BadParameter("it must not be empty", param_hint="USER or ID")
    return segment(what)


@app.command()
def send(
    user: UserArgument,
    text: Annotated[str, typer.Argument(help="The message.")],
    ttl: Annotated[float | None, typer.Option(help="Seconds of quiet.")] = None,
    message_id: Annotated[
        str | None, typer.Option("--id", help="Names the message: it can be sent again safely.")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Post one message."""
    optional = {"ttl": ttl, "message_id": message_id}
    body = {"user": user, "message": text} | {k: v for k, v in optional.items() if v is not None}
    with _service(url, key, "ingest") as service:
        answer = service.post("/api/message", body)
    _show(answer, ("user", "message_id", "pending", "fires_in", "duplicate"), as_json)


@app.command()
def users(
    state: Annotated[str | None, typer.Option(help="Only users in this state.")] = None,
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who is waiting, soonest first."""
    with _service(url, key, "read") as service:
        answer = service.get("/api/users", state=state, limit=limit, cursor=cursor)
    _show_page(answer, "users", USER_FIELDS, as_json)


@app.command()
def user(
    user: UserArgument, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Everything about one user but the texts."""
    with _service(url, key, "read") as service:
        answer = service.get(f"/api/users/{_segment(user)}")
    _show(answer, (*USER_FIELDS, "batch"), as_json)
    if answer.get("recent") and not as_json:
        _show_rows("recent attempts", answer["recent"], ATTEMPT_FIELDS)


@app.command()
def flush(
    user: UserArgument, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Send now what a user has waiting."""
    with _service(url, key, "admin") as service:
        answer = service.post(f"/api/users/{_segment(user)}/flush")
    _show(answer, USER_FIELDS, as_json)


@dead.command("list")
def dead_list(
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """The dead letters, newest first."""
    with _service(url, key, "read") as service:
        answer = service.get("/api/dead", limit=limit, cursor=cursor)
    _show_page(answer, "dead", DEAD_FIELDS, as_json)


@dead.command("show")
def dead_show(
    batch_id: IdArgument, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """One dead letter with the body that was refused."""
    with _service(url, key, "read") as service:
        answer = service.get(f"/api/dead/{_segment(batch_id)}")
    _show(answer, (*DEAD_FIELDS, "batch"), as_json)


@dead.command("replay")
def dead_replay(
    batch_id: Annotated[str | None, typer.Argument(help="The batch's id.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Replay all of them.")] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a dead letter again, with the same webhook-id."""
    if everything == (batch_id is not None):
        raise typer.BadParameter("name one dead letter, or give --all", param_hint="ID")
    with _service(url, key, "admin") as service:
        if batch_id is None:
            answer = service.post("/api/dead/replay")
        else:
            answer = service.post(f"/api/dead/{_segment(batch_id)}/replay")
    _show(answer, ("replayed", *DEAD_FIELDS), as_json)


@dead.command("drop")
def dead_drop(
    batch_id: IdArgument, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Delete a dead letter for ever."""
    with _service(url, key, "admin") as service:
        answer = service.delete(f"/api/dead/{_segment(batch_id)}")
    _show(answer, ("success",), as_json)


@app.command()
def shards(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """The replicas, and who owns which shard."""
    with _service(url, key, "read") as service:
        answer = service.get("/api/shards")
    if as_json:
        _show(answer, (), as_json)
        return
    _show_rows("replicas", answer.get("replicas", []), REPLICA_FIELDS)
    _show_rows("shards", answer.get("shards", []), SHARD_FIELDS)


@app.command()
def doctor(as_json: JsonOption = False) -> int:
    """Say what is wrong with the Redis and webhook."""
    from actor_queue.app.doctor import examine, show

    findings = examine(_settings({}))
    show(findings, as_json=as_json)
    return NO if any(finding.level == "fail" for finding in findings) else 0


def _show(answer: dict[str, Any], names: Sequence[str], as_json: bool) -> None:
    from actor_queue.app.tables import show_fields, show_json

    if as_json:
        show_json(answer)
    else:
        show_fields(answer, names)


def _show_page(answer: dict[str, Any], name: str, columns: Sequence[str], as_json: bool) -> None:
    from actor_queue.app.tables import show_json, show_table

    if as_json:
        show_json(answer)
        return
    show_table(columns, answer.get(name, []))
    if answer.get("cursor"):
        print(f"there are more: go on with --cursor {answer['cursor']}", file=sys.stderr)


def _show_rows(title: str, rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    from actor_queue.app.tables import show_table

    print(f"\n{title}:")
    show_table(columns, rows)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        print(f"{NAME} {version_of(NAME)}")
        raise typer.Exit
