"""`/`, `/docs` and `/static/…`: the files that come with the package, and no others."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from quart import Blueprint, Response, request

from actor_queue.http.problem import not_found
from actor_queue.http.routing import needs, problem_answer

PAGES: Final = {"/": "index.html", "/docs": "docs.html"}

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


def routes() -> Blueprint:
    pages = Blueprint("pages", __name__)
    known = _read(files("actor_queue.http") / "pages", "")

    def serve(name: str) -> Response:
        file = known.get(name)
        if file is None:
            return problem_answer(not_found())
        response = Response(file.content, content_type=file.content_type, headers=HEADERS)
        response.set_etag(file.etag)
        if request.if_none_match.contains(file.etag):
            response.status_code = 304
            response.set_data(b"")
        return response

    @pages.get("/")
    @needs(None, None)
    async def index() -> Response:
        return serve(PAGES["/"])

    @pages.get("/docs")
    @needs(None, None)
    async def docs() -> Response:
        return serve(PAGES["/docs"])

    @pages.get("/static/<path:name>")
    @needs(None, None)
    async def static(name: str) -> Response:
        return serve(name)

    return pages


def _read(folder: Traversable, prefix: str) -> dict[str, File]:
    known: dict[str, File] = {}
    for entry in folder.iterdir() if folder.is_dir() else ():
        name = prefix + entry.name
        if entry.is_dir():
            known |= _read(entry, f"{name}/")
        elif not entry.name.endswith((".py", ".pyc")):
            content = entry.read_bytes()
            etag = hashlib.sha256(content).hexdigest()[:32]
            known[name] = File(content, _type_of(entry.name), etag)
    return known


def _type_of(name: str) -> str:
    suffix = name[name.rfind(".") :]
    return TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
