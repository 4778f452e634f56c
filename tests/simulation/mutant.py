"""What a mistake in the protocol is, and how it is hunted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

from actor_queue.store.scripts import all_scripts
from actor_queue.transport.script import Script
from tests.simulation.world import Mutation, Verdict, simulate

PRELUDE = "prelude"
ANYWHERE = "claim"
"""A script to look for the prelude in."""


@dataclass(frozen=True)
class Edit:
    """Replace `old`, which stands in the script exactly once, by `new`.

    `script` is its name without the version: the newest one is meant, which is the one in use.
    """

    script: str
    old: str
    new: str

    def check_applies(self) -> None:
        """Raises AssertionError if the scripts have changed so that this is no mistake any more."""
        verb = ANYWHERE if self.script == PRELUDE else self.script
        newest = max((each for each in all_scripts() if each.verb == verb), key=_version)
        found = newest.plain_source.count(self.old)
        assert found == 1, f"{self.old!r} is in {self.script} {found} times, not once"


def _version(script: Script) -> int:
    return int(script.name.rpartition("_v")[2])


Patched = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """`faults` and `options` are the ones without which the mistake cannot show; None: as the seed
    draws."""

    name: str
    edits: tuple[Edit, ...] = ()
    patched: Patched = nullcontext
    faults: Collection[str] | None = None
    options: Collection[str] | None = None

    @property
    def mutation(self) -> Mutation:
        return Mutation(self._source, self.patched)

    def _source(self, original: Script) -> str:
        source = original.plain_source
        for edit in self.edits:
            if edit.script in (original.verb, PRELUDE):
                source = source.replace(edit.old, edit.new)
        return source


@dataclass(frozen=True)
class Catch:
    """After how many seeds a mutant was noticed, and by which rules."""

    seeds: int
    rules: tuple[str, ...]


def hunt(mutant: Mutant, start: int, seeds_max: int) -> Catch | None:
    """Run seeds from `start` on until one fails; None if none of `seeds_max` does."""
    for count in range(seeds_max):
        verdict: Verdict = simulate(start + count, mutant.faults, mutant.mutation, mutant.options)
        if verdict.failed:
            rules = dict.fromkeys(violation.rule for violation in verdict.violations)
            return Catch(count + 1, tuple(rules))
    return None


def replaced(owner: object, name: str, new: object) -> Patched:
    """A function of the engine or the store, while the mistake lasts."""
    return lambda: mock.patch.object(owner, name, new)
