"""Deterministic simulation: many replicas, one store, one virtual clock, one seed."""
