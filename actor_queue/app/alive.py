"""Whether the service of this machine lives: `python -m actor_queue.app.alive`, for containers.

Reads the variables and the `.env` that the service reads, so it asks where the service listens:
`AQ_PROBE_BIND`, else `AQ_BIND`, else `PORT`. Flags of `serve` it cannot know. Must stay small,
because it is started every few seconds, and must go through no proxy.
"""

from __future__ import annotations

import http.client
import os
import sys
from typing import Final

from actor_queue.app.environment import load
from actor_queue.core.settings import Settings, SettingsError

PATH: Final = "/healthz"
TIMEOUT_S: Final = 2.0
ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a wildcard is reached


def main() -> int:
    """0 if it lives, 1 with one sentence if it does not, or if nobody can know."""
    try:
        host, port = address(load(os.environ, ".env", {}))
    except SettingsError as error:
        return _no(" ".join(error.sentences))
    if port == 0:
        return _no("the service listens on a port that the system chose, so nobody can ask there")
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", PATH)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return _no(f"{host}, port {port}, does not answer: {type(error).__name__}")
    finally:
        connection.close()
    return 0 if status == 200 else _no(f"{host}, port {port}, answers {status}")


def address(settings: Settings) -> tuple[str, int]:
    """Host and port where this machine reaches a service with these settings."""
    host, _, port = (settings.probe_bind or settings.bind).rpartition(":")
    host = host.strip("[]")
    return ANY_HOST.get(host, host), int(port)


def host_in_url(host: str) -> str:
    """How an address of this machine names what listens at `host`, with brackets or without."""
    reached = ANY_HOST.get(host.strip("[]"), host.strip("[]"))
    return f"[{reached}]" if ":" in reached else reached


def _no(sentence: str) -> int:
    print(sentence)
    return 1


if __name__ == "__main__":
    sys.exit(main())
