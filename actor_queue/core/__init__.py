"""Rules without I/O: data in, decisions out. No clock, no randomness, no logging."""
