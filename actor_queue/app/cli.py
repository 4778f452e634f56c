"""The command line: `actor-queue dev`, `serve`, and the API from a terminal.

Owns arguments and exit statuses: 0 on success, 1 when the answer is no, 2 for wrong usage
or configuration. What a command needs is imported inside it, so that `--help` is quick and
the service carries nothing of the client.
"""

from __future__ import annotations

import errno
import gc
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated

import typer

from actor_queue.app.commands import (
    changes,
    cluster,
    dead,
    doctor,
    drop,
    events,
    history,
    routes,
    users,
    watch,
)
from actor_queue.app.commands.asking import DOTENV, JsonOption
from actor_queue.app.config import ReadSetup, Setup, door_rows, load_setup, route_rows
from actor_queue.app.logs import printable
from actor_queue.app.secret_files import SECRETS, flag_of_file, name_of_file
from actor_queue.app.terminal import (
    NAME,
    NO,
    WRONG,
    complain,
    give_up,
    note,
    open_closed_streams,
    say,
    show_json,
    show_table,
)
from actor_queue.core.setting_kinds import BOOLEAN
from actor_queue.core.settings import Serving, Settings, SettingsError
from actor_queue.core.variables import VARIABLES, Variable

INTERRUPTED = 130
READER_GONE = 141
"""As of a program that a signal ended: SIGINT, SIGPIPE."""
UNWRITABLE = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})
"""Of standard output: closed, on a full disk, on a terminal that has gone."""

FLAGS = {variable.flag: variable for variable in VARIABLES}
FILE_FLAGS = {flag_of_file(variable) for variable in SECRETS}

app = typer.Typer(
    name=NAME,
    help="Collects bursts of chat messages and sends each user's burst as one webhook.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)


def main() -> None:
    """The console script."""
    # Imports make objects and no garbage; walking over them costs a fifth of the start.
    gc.disable()
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        status = READER_GONE
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:  # noqa: BLE001  # Python would print what it says
        status = complain(_fault(error), NO)
        give_up(sys.stdout)
    if status == READER_GONE:
        give_up(sys.stdout)  # the interpreter would complain of what is still buffered
    sys.exit(status)


def _fault(error: Exception) -> str:
    """What is said of an error that nobody foresaw. Its text may quote a message, a secret, or
    what Redis sent, so it is not repeated."""
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return f"standard output cannot be written: {error.strerror}"
    from actor_queue.runtime.lines import described

    return f"stopped by a fault of this program, please report it: {described(error)}"


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit status. Never raises for wrong input."""
    try:
        status = app(_one_spelling(arguments), prog_name=NAME, standalone_mode=False)
    except SettingsError as error:
        for sentence in error.sentences:
            complain(sentence, WRONG)
        return WRONG
    except typer.TyperException as error:
        return _explain_usage(error)
    except typer.Abort:
        return complain("stopped", NO)
    except BaseExceptionGroup as group:
        # An interrupt that came while tasks were running.
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        return INTERRUPTED
    except SystemExit as end:
        # typer's own way to say that whoever read our output has gone, and to end a completion.
        if isinstance(end.__context__, BrokenPipeError):
            return READER_GONE
        return end.code if isinstance(end.code, int) else 0
    return status if isinstance(status, int) else 0


def _one_spelling(arguments: Sequence[str]) -> list[str]:
    """`--AQ_MAX_TTL=5` and `--aq-max-ttl=5` → `--max-ttl=5`, for the commands with settings."""
    if not arguments or arguments[0] not in ("dev", "serve", "edge", "check", "check-config"):
        return list(arguments)
    following = [*arguments[1:], "--"]
    return [_spell(word, after) for word, after in zip(arguments, following, strict=True)]


def _spell(word: str, after: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.removeprefix("--").partition("=")
    flag = name.lower().replace("_", "-").removeprefix("aq-")
    if flag not in FLAGS and flag not in FILE_FLAGS:
        return word  # reported as it was typed
    if flag in FLAGS and FLAGS[flag].kind is BOOLEAN and not equals and after.startswith("--"):
        equals, value = "=", "true"
    return f"--{flag}{equals}{value}"


def _explain_usage(error: typer.TyperException) -> int:
    """One line and where to read on; the whole help where no command was named."""
    message = error.format_message()
    for beginning in ("Invalid value for ", "Invalid value: "):
        # What follows is a sentence: `--ttl: 'soon' is not a number of seconds`.
        message = message.removeprefix(beginning)
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        say(f"{message}\n")
        return error.exit_code
    if context is not None:
        message = f"{message.rstrip('.')}; see `{context.command_path} --help`"
    return complain(message, error.exit_code)


# The service


def _takes_settings(
    command: Callable[..., int], *, serving: Serving | bool = False
) -> Callable[..., int]:
    """`command` as typer wants it, with one option for each setting, and two for a secret.

    Its first argument is a function that reads the settings and the file of AQ_CONFIG, as often as
    it is called; options of its own may follow.
    """
    _, *own = inspect.signature(command, eval_str=True).parameters.values()

    def with_flags(**flags: str | None) -> int:
        others = {each.name: flags.pop(each.name) for each in own}
        given = {name.upper(): text for name, text in flags.items() if text is not None}
        return command(partial(_setup, given, serving), **others)

    options = [option for variable in VARIABLES for option in _options(variable)]
    options += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    signature = inspect.Signature(options, return_annotation=int)
    with_flags.__signature__ = signature  # type: ignore[attr-defined]
    with_flags.__annotations__ = {option.name: option.annotation for option in options}
    with_flags.__doc__ = command.__doc__
    return with_flags


def _options(variable: Variable) -> Iterator[inspect.Parameter]:
    default = f" [default: {variable.default}]" if variable.default else ""
    seen = ""
    if variable.secret:
        seen = f"; the process list shows it: better --{flag_of_file(variable)} or the variable"
    yield _option(variable.name, variable.flag, variable.name, f"{variable.help}{default}{seen}")
    if variable.secret:
        kept = f"a file that has {variable.name} in it, and nothing else"
        yield _option(name_of_file(variable), flag_of_file(variable), "FILE", kept)


def _option(name: str, flag: str, metavar: str, text: str) -> inspect.Parameter:
    option = typer.Option(f"--{flag}", metavar=metavar, help=text, show_default=False)
    return inspect.Parameter(
        name.lower(),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def _setup(
    flags: dict[str, str], serving: Serving | bool, running: Settings | None = None
) -> Setup:
    return load_setup(os.environ, DOTENV, flags, serving=serving, running=running)


@app.command("dev")
@_takes_settings
def dev(read: ReadSetup) -> int:
    """Run everything on this machine, no set-up."""
    return _run(read, dev=True)


@app.command("serve")
@partial(_takes_settings, serving=True)
def serve(read: ReadSetup) -> int:
    """Run in production, with your Redis and webhook."""
    return _run(read, dev=False)


@app.command("edge")
@partial(_takes_settings, serving="edge")
def edge(read: ReadSetup) -> int:
    """Take messages for the replicas that `serve`."""
    from actor_queue.app.edge_server import run_edge

    setup = read()
    return run_edge(setup.settings, setup.config, read_again=read)


def _run(read: ReadSetup, *, dev: bool) -> int:
    settings, config = read()
    if settings.workers > 1:
        from actor_queue.app.workers import run_workers

        return run_workers(settings, config, dev=dev, read_again=read)
    from actor_queue.app.service import run_service

    return run_service(settings, config, dev=dev, read_again=read)


# What needs no service


@app.command("check")
@partial(_takes_settings, serving=True)
def check(read: ReadSetup, as_json: JsonOption = False) -> int:
    """Say whether `serve` would take the settings, and what it would doubt."""
    from actor_queue.app.listening import doubts_here

    doubts = doubts_here(read().settings)
    if as_json:
        show_json({"usable": True, "doubts": doubts})
        return 0
    print("the settings can be used")
    for doubt in doubts:
        print(f"doubtful: {printable(doubt)}")
    return 0


@app.command("check-config")
@_takes_settings
def check_config(read: ReadSetup, as_json: JsonOption = False) -> int:
    """Say whether the file of AQ_CONFIG can be used, and what it says."""
    settings, config = read()
    if settings.config is None:
        return complain("AQ_CONFIG is not set: name a TOML file, also as --config FILE", WRONG)
    rows = route_rows(settings, config)
    if as_json:
        show_json({"usable": True, "routes": rows, "doors": door_rows(config)})
    else:
        columns = ("route", "receiver", "signed", "ttl", "timeout", "max_deliveries", "answer")
        show_table(columns, rows)
        if doors := door_rows(config):
            print()
            show_table(tuple(doors[0]), doors)
    return 0


@app.command("new-secret")
def new_secret(as_json: JsonOption = False) -> None:
    """Make a WEBHOOK_SECRET that every verifier takes."""
    from actor_queue.webhook.signing import SECRET_PREFIX, new_secret, parse_secret

    secret = new_secret()
    if as_json:
        show_json({"secret": secret, "text": parse_secret(secret).decode("ascii")})
        return
    print(secret)
    note(
        "Put it into WEBHOOK_SECRET and into the receiver. A receiver that wants the key as text,"
        " such as n8n's Crypto node, takes the part after"
        f' {SECRET_PREFIX} decoded from base64: `printf %s "${{WEBHOOK_SECRET#{SECRET_PREFIX}}}"'
        " | base64 -d`."
    )


# The API from a terminal

for subject in (users, changes, drop, watch, dead, history, routes, cluster, events, doctor):
    subject.register(app)


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
