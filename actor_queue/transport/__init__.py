"""How a call reaches a server, and nothing of what it means."""
