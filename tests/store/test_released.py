"""A released script is never changed: replicas of two releases run on one Redis."""

from __future__ import annotations

import json

from actor_queue.store.scripts import all_scripts, script
from tools.release_scripts import NOTED, digests


def test_no_released_script_or_prelude_was_changed() -> None:
    found, noted = digests(), json.loads(NOTED.read_text())
    changed = {name for name, digest in noted.items() if found.get(name) != digest}
    assert changed == set(), "give it a new version, and put this one back as it was"


def test_every_script_names_a_prelude_that_is_there() -> None:
    names = {each.name for each in all_scripts()}
    preludes = {name for name in digests() if name.startswith("prelude")}
    assert names | preludes == digests().keys()
    for name in names:
        assert script(name).plain_source


def test_only_messages_and_claims_travel_apart_from_the_rest() -> None:
    """Messages wait for the reserve and for AQ_DURABILITY, claims for the latter alone."""
    for each in all_scripts():
        verb = each.name.partition("_")[0]
        assert each.way == {"append": "messages", "claim": "claims"}.get(verb, "rest"), each.name
