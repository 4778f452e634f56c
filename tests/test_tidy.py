"""Sizes, names and headers hold."""

from __future__ import annotations

from tests import tidy


def test_the_tree_is_tidy() -> None:
    assert list(tidy.all_complaints()) == []
