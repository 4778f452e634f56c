"""`python -m benchmarks.viewer PORT PAGES`: what so many open pages of the operator ask for.

Each follows `/api/events`, reads the list of the Waiting page again every second and what stands
above it every ten, with a page's headers, as a page does while things happen. Ends when its
standard input does, and says how often it asked.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Final

EVERY_S: Final = 1.0
REST_EVERY: Final = 10
PATHS: Final = (
    "/api/users?limit=50",
    "/api/shards",
    "/api/users?state=retrying&limit=100",
    "/api/users?state=held&limit=100",
    "/api/dead?limit=100",
)
SHARED: Final = "cache-control: max-age=1\r\n"
READ_BYTES: Final = 1 << 20


async def follow(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
    while await reader.read(READ_BYTES):
        pass


async def look(port: int, asked: list[float]) -> None:
    loop = asyncio.get_running_loop()
    for turn in itertools.count(len(asked)):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        since = loop.time()
        for path in PATHS if turn % REST_EVERY == 0 else PATHS[:1]:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{SHARED}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        asked.append(loop.time() - since)
        writer.close()
        await asyncio.sleep(max(0.0, EVERY_S - asked[-1]))


async def main(port: int, pages: int) -> None:
    asked: list[float] = []
    tasks = [
        asyncio.create_task(each)
        for _ in range(pages)
        for each in (follow(port), look(port, asked))
    ]
    print("{}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(len(asked), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
