"""The webhooks that the playground makes are ones that the doors understand, under the names that
the playground expects of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from actor_queue.doors import PLATFORMS
from tests.doors.fixtures import SENT_S, understood
from tests.doors.said import said

WEBHOOKS = Path(__file__).parents[2] / "actor_queue/http/pages/webhooks.js"
MADE = """
const { PLATFORMS, personOf } = await import(process.argv[1]);
const sentMs = Number(process.argv[2]) * 1000;
const person = personOf("joao.silva");
const made = Object.entries(PLATFORMS).flatMap(([platform, about]) => about.events.map((event) => {
  const [id, original] = [about.id(sentMs + 1), about.id(sentMs)];
  const named = about.messageId(person, event === "edit" || event === "revoke" ? original : id);
  const body = about.write({ event, person, text: "Olá \\ud83d\\ude42", id, original, sentMs });
  return { platform, event, body, user: about.user(person), message_id: named };
}));
process.stdout.write(JSON.stringify(made));
"""
TEXT = "Olá \N{SLIGHTLY SMILING FACE}"


def test_each_webhook_of_the_playground_asks_its_door_for_what_the_page_says() -> None:
    made = webhooks()
    assert {each["platform"] for each in made} == set(PLATFORMS)
    for each in made:
        [action] = said(understood(each["platform"], each["body"]))
        assert asked(action) == expected(each), (each["platform"], each["event"])


def webhooks() -> list[dict[str, Any]]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here, which makes the playground's webhooks without a browser")
    command = [node, "--input-type=module", "--eval", MADE, WEBHOOKS.as_uri(), str(SENT_S)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def asked(action: dict[str, Any]) -> dict[str, Any]:
    """Without what a message has besides its names, text and kind."""
    [(name, about)] = action.items()
    if name == "push":
        about = {key: about[key] for key in ("user", "message_id", "message", "kind")}
    return {name: about}


def expected(made: dict[str, Any]) -> dict[str, Any]:
    user, names = made["user"], {"user": made["user"], "message_id": made["message_id"]}
    match made["event"]:
        case "text" | "image" as kind:
            return {"push": {**names, "message": TEXT, "kind": kind}}
        case "edit":
            return {"edit": {**names, "text": TEXT}}
        case "revoke":
            return {"revoke": names}
        case event:
            return {"hold" if event == "own" else "typing": user}
