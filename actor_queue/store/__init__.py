"""The only road to Redis."""
