"""The examples of docs/doors.md, made of the fixtures."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.doors.fixtures import NAMES, fixture

TITLES = {
    "evolution": "Evolution API",
    "waha": "WAHA",
    "cloud": "WhatsApp Cloud API",
    "chatwoot": "Chatwoot",
    "telegram": "Telegram",
}
SHOWN = (
    "text", "text_that_answers", "caption_and_image", "image", "voice", "video", "document",
    "sticker", "location", "contact", "button_reply", "list_reply", "order", "unsupported",
    "file_that_could_not_be_loaded",
)  # fmt: skip


def examples() -> Iterator[tuple[str, list[str]]]:
    """A title and a line of JSON for each message, by platform."""
    for platform, title in TITLES.items():
        names = [f"{platform}/{case}" for case in SHOWN if f"{platform}/{case}" in NAMES]
        pushed = [fixture(name)["actions"][0]["push"] for name in names]
        yield title, [json.dumps(each, ensure_ascii=False) for each in pushed]
