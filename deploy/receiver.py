"""A sample receiver: says yes to every webhook, and which one it was. For trying things out.

It writes ids only, never what people wrote. A real one verifies `webhook-signature`, remembers
the ids it has handled, and answers 2xx only once the work is safe with it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_BYTES_MAX = 128 * 1024 * 1024
IDS_MAX = 10_000
ID_CHARS_MAX = 100
TIMEOUT_S = 60

seen: OrderedDict[str, None] = OrderedDict()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        self.answer(204)

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            self.answer(413 if length.isdigit() else 411)
            return
        left = int(length)
        while left:
            piece = self.rfile.read(min(left, 65_536))
            if not piece:
                self.close_connection = True
                return
            left -= len(piece)
        webhook_id = self.headers.get("webhook-id", "")[:ID_CHARS_MAX]
        print(f"{'again ' if known(webhook_id) else ''}{webhook_id!r}", flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: request lines may hold what is nobody's business."""


def known(webhook_id: str) -> bool:
    """Whether this id was here before; the last 10,000 are remembered."""
    if webhook_id in seen:
        return True
    seen[webhook_id] = None
    if len(seen) > IDS_MAX:
        seen.popitem(last=False)
    return False


def main() -> None:
    # Process 1 of a container is deaf to signals that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "9000"))), Receiver)
    print(f"listening on port {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
