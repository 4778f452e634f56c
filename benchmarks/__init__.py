"""Benchmarks with real processes. `python -m benchmarks --help` says how to run them."""
