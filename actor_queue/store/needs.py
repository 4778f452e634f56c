"""What the store needs of each server that keeps it: its scripts, its rights, and a probe."""

from __future__ import annotations

from functools import partial

from actor_queue.store.rights import missing_rights, rights_call
from actor_queue.store.scripts import all_scripts, script
from actor_queue.transport.needs import Needs
from actor_queue.transport.runner import Call


def needs_of(meta_key: bytes, shards: int, form: int) -> Needs:
    """For a runner of the namespace whose facts are at `meta_key`.

    The probe writes nothing that is not there, but is refused like a write.
    """
    return Needs(
        Call(script("meta_v1"), (meta_key,), (shards, form)),
        all_scripts(),
        partial(rights_call, meta_key),
        missing_rights,
    )
