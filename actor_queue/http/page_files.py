"""The files of the pages, and what is said with each of them. Knows no framework.

`pages_api` serves them where a request is anything but plain, `head_answers` everywhere else.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

PLAYGROUND: Final = "index.html"
OPERATE: Final = "operate.html"
DOCS: Final = "docs.html"

HEADERS: Final = {
    "cache-control": "no-cache",  # kept, but asked about each time: a new release shows at once
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

# What the system's own table says differs from machine to machine.
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file, read when the application was built."""

    content: bytes
    content_type: str
    etag: str

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All that is said with it but the date, in the order in which Quart says it."""
        return [
            *((name.encode(), value.encode()) for name, value in HEADERS.items()),
            (b"content-type", self.content_type.encode()),
            (b"content-length", str(len(self.content)).encode()),
            (b"etag", b'"%b"' % self.etag.encode()),
        ]


@lru_cache(maxsize=2)
def page_files(*, playground: bool) -> Mapping[str, File]:
    """By name. `playground`: whether there is the page that writes messages."""
    known = _read(files("actor_queue.http") / "pages", "")
    if playground:
        known[OPERATE] = _with_playground(known[OPERATE])
    return known


def named_pages(*, playground: bool) -> Mapping[str, str]:
    """The file of each page that has a path of its own."""
    return {"/": PLAYGROUND if playground else OPERATE, "/operate": OPERATE, "/docs": DOCS}


def _read(folder: Traversable, prefix: str) -> dict[str, File]:
    known: dict[str, File] = {}
    for entry in folder.iterdir() if folder.is_dir() else ():
        name = prefix + entry.name
        if entry.is_dir():
            known |= _read(entry, f"{name}/")
        elif not entry.name.endswith((".py", ".pyc")):
            known[name] = _file(entry.read_bytes(), _type_of(entry.name))
    return known


def _file(content: bytes, content_type: str) -> File:
    return File(content, content_type, hashlib.sha256(content).hexdigest()[:32])


def _with_playground(page: File) -> File:
    """The operator's view with a link to the playground."""
    no, yes = b'data-playground="no"', b'data-playground="yes"'
    assert no in page.content, "the page says in one place whether there is a playground"
    return _file(page.content.replace(no, yes), page.content_type)


def _type_of(name: str) -> str:
    suffix = name[name.rfind(".") :]
    return TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
