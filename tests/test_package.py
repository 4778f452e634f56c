"""What `import actor_queue` shows of itself."""

from __future__ import annotations

import pydoc
import subprocess
import sys
from importlib import metadata

import pytest

import actor_queue


def test_every_public_name_can_be_had_listed_and_looked_up() -> None:
    assert actor_queue.__all__ == sorted(
        actor_queue.__all__, key=lambda name: (name[0] == "_", name)
    )
    assert set(actor_queue.__all__) <= set(dir(actor_queue))
    assert set(actor_queue.__all__) - {"__version__"} == set(actor_queue._HOMES)
    starred: dict[str, object] = {}
    exec("from actor_queue import *", starred)
    for name in actor_queue.__all__:
        assert starred[name] is getattr(actor_queue, name)
    with pytest.raises(AttributeError, match="ActorQeue"):
        actor_queue.ActorQeue  # noqa: B018


def test_the_version_is_that_of_the_installed_distribution() -> None:
    assert actor_queue.__version__ == metadata.version("actor-queue")


def test_help_tells_about_every_class_and_every_verb() -> None:
    text = pydoc.render_doc(actor_queue, renderer=pydoc.plaintext)
    for name in actor_queue._HOMES:
        assert name in text
    for verb in ("push", "flush", "hold", "release", "typing", "drop", "user", "users", "dead"):
        assert f"async {verb}(" in text, verb
        assert getattr(actor_queue.ActorQueue, verb).__doc__
    for verb in ("dead_letter", "replay", "drop_dead"):
        assert getattr(actor_queue.ActorQueue, verb).__doc__


def test_the_import_alone_loads_no_library() -> None:
    code = "import sys, actor_queue; print([m for m in sys.modules if m in ('trio', 'coredis')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
