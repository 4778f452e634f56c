"""Everything here starts real processes, but for the tests of the checker itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.service import World, world


@pytest.fixture(scope="module")
def plain() -> Iterator[World]:
    """A service that the tests of a module share, each with users of its own."""
    with world() as shared:
        shared.client.state("quem")  # what is loaded at first use is loaded now
        yield shared
