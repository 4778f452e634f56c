"""`doctor`: what is wrong with a Redis and a webhook, here or where a service runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from actor_queue.app.commands.asking import (
    DOTENV,
    JsonOption,
    KeyFileOption,
    KeyOption,
    connected,
    named_service,
)
from actor_queue.app.terminal import NO, complain
from actor_queue.core.conversation import DEFAULT_ROUTE

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Ask the service there, which judges with its own settings. Default: AQ_URL; without"
        " either, the settings of this environment are judged here.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    send_test: Annotated[
        bool,
        typer.Option(
            "--send-test", help="Post a signed test to the webhook, and say what its answer means."
        ),
    ] = False,
    route: Annotated[
        str | None,
        typer.Option("--route", metavar="NAME", help="To which route --send-test posts."),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> int:
    """Say what is wrong with the Redis and webhook."""
    if route is not None and not send_test:
        raise typer.BadParameter("it says where --send-test posts", param_hint="--route")
    url = url or named_service()
    if url is not None:
        if send_test:
            raise typer.BadParameter(
                "a service that is asked posts no test: leave away --url and AQ_URL, and give this"
                " environment the service's settings",
                param_hint="--send-test",
            )
        return _asked(url, key, key_file, as_json)
    if key is not None or key_file is not None:
        raise typer.BadParameter("a key is for a service: name it with --url", param_hint="--key")
    return _here((route or DEFAULT_ROUTE) if send_test else None, as_json)


def _asked(url: str, key: str | None, key_file: Path | None, as_json: bool) -> int:
    from actor_queue.app.doctor import show_answer
    from actor_queue.app.remote import Refused

    try:
        with connected(url, key, key_file, "read") as service:
            answer = service.get("/api/doctor")
    except Refused as refused:
        return complain(str(refused), NO)
    show_answer(answer, as_json)
    return 0 if answer.get("healthy") else NO


def _here(send_test: str | None, as_json: bool) -> int:
    from actor_queue.app.config import load_setup
    from actor_queue.app.doctor import examine, show

    settings, config = load_setup(os.environ, DOTENV, {})
    findings = examine(settings, config.all_routes(settings), post_test=send_test)
    show(findings, as_json=as_json)
    return NO if any(finding.level == "fail" for finding in findings) else 0
