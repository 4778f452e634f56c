"""Trio shells around the rules: actors, ownership, recovery, delivery."""
