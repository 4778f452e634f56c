"""What the service keeps in Redis, and every verb on it. The road there is `transport`."""
