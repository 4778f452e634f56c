"""`events`: follows what happens, over a service that goes and comes back."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from actor_queue.app.commands import events
from actor_queue.app.commands.events import (
    PUT_OFF_S_MAX,
    RETRY_FIRST_S,
    Event,
    Reconnection,
    in_groups,
    read_events,
)
from tests.cli.conftest import COMMAND, WAIT_S, Ours, Run, Scripted, environment, until_listened

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_events_are_read_however_the_pieces_are_cut(size: int) -> None:
    stream = (
        b"retry: 1000\n\n: still here\n\nevent: accepted\ndata: {}\n\n"
        b"data: a\ndata: b\nid: 3\n\nevent: cut off\ndata: never"
    )
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert list(read_events(pieces)) == [Event("accepted", "{}"), Event("message", "a\nb")]


def test_the_service_says_when_it_wants_the_next_connection_within_reason() -> None:
    wanted = Reconnection()
    put_out = b"retry: 1000\n\ndata: a\n\nretry: 30000\n: put out, because\n\n"
    assert list(read_events([put_out], wanted)) == [Event("message", "a")]
    assert wanted.pause_s == 30
    list(read_events([b"retry: 999999999\n\n"], wanted))
    assert wanted.pause_s == PUT_OFF_S_MAX
    list(read_events([b"retry: 1\n\ndata: retry: 20000\n\nretry: soon\n\n"], wanted))
    assert wanted.pause_s == RETRY_FIRST_S


def test_whoever_was_put_out_waits_for_as_long_as_the_service_asks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        process = following("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        watchdog = threading.Timer(WAIT_S, process.kill)
        watchdog.start()
        assert process.stderr is not None
        try:
            with listener.accept()[0] as sock:
                sock.recv(65_536)
                sock.sendall(HEAD + b"retry: 1000\n\nretry: 30000\n: put out\n\n")
            assert b"connecting again in 30 s" in process.stderr.readline()
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate(timeout=WAIT_S)


def test_an_event_without_an_end_is_thrown_away_and_the_next_is_read() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"event: huge\ndata: "
        for _ in range(100):
            yield b"x" * 65_536
        yield b"\n\nevent: next\ndata: 1\n\n"

    assert list(read_events(pieces())) == [Event("next", "1")]


def moved(shard: int, owner: str | None, replica: str = "r-1") -> Event:
    return Event("moved", json.dumps({"shard": shard, "owner": owner, "replica": replica}))


def test_only_moves_that_follow_each_other_are_told_together_and_order_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "MOMENT_S", WAIT_S)
    one, two = Event("accepted", "{}"), Event("fired", "{}")
    stream = [moved(1, None), moved(2, None), one, two, moved(1, "r-1"), moved(2, "r-1")]
    assert list(in_groups(stream)) == [stream[:2], [one], [two], stream[4:]]


def test_moves_are_told_after_a_moment_although_nothing_else_comes() -> None:
    told = threading.Event()

    def stream() -> Iterator[Event]:
        yield moved(1, None)
        assert told.wait(WAIT_S)
        yield moved(2, None)

    groups = in_groups(stream())
    assert next(groups) == [moved(1, None)]
    told.set()
    assert list(groups) == [[moved(2, None)]]


def test_what_breaks_the_stream_is_raised_after_what_came_before_it() -> None:
    def stream() -> Iterator[Event]:
        yield moved(1, None)
        raise OSError("broken")

    groups = in_groups(stream())
    assert next(groups) == [moved(1, None)]
    with pytest.raises(OSError, match="broken"):
        next(groups)


def shards_in(line: str) -> int:
    """How many shards a line tells of."""
    assert line, "the command has ended"
    told = re.search(r" shards=(\d+) ", line)
    return int(told[1]) if told else 1


@pytest.mark.parametrize("as_json", [False, True])
def test_a_hiccup_of_all_shards_is_a_line_for_each_owner_and_a_cut_connection_is_said(
    as_json: bool,
) -> None:
    """The stream is cut within a chunk, as where the service is killed."""
    moves = [moved(n, None) for n in range(64)] + [moved(n, "r-1") for n in range(64)]
    body = "".join(f"event: {name}\ndata: {data}\n\n" for name, data in moves).encode()
    head = HEAD.removesuffix(b"\r\n") + b"transfer-encoding: chunked\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = following("--url", url, *(["--json"] if as_json else []))
        watchdog = threading.Timer(WAIT_S, process.kill)
        watchdog.start()
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with listener.accept()[0] as connection:
                connection.recv(65_536)
                connection.sendall(head + f"{len(body):x}\r\n".encode() + body + b"\r\n")
                lines: list[str] = []
                while sum(map(shards_in, lines)) < 128:
                    lines.append(process.stdout.readline().decode())
            said = process.stderr.readline().decode()
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate(timeout=WAIT_S)
    assert f"the connection to {url} broke: the service ended, or the network failed;" in said
    assert "trying again in 1 s" in said
    if as_json:
        assert [json.loads(line)["data"]["shard"] for line in lines] == [*range(64), *range(64)]
    else:
        assert lines[0][8:].startswith(" moved shards=")
        assert lines[-1].endswith(" owner=r-1 replica=r-1\n")
        # Two, unless the machine stands still between them.
        assert len(lines) < 10


def following(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "events", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_what_happens_is_told_line_by_line_as_it_happens(ours: Ours, as_json: bool) -> None:
    process = following("--url", ours.url, *(["--json"] if as_json else []))
    try:
        until_listened(ours, process)
        subprocess.run(
            [*COMMAND, "send", "ana\x9b", "oi", "--message-id", "m1", "--url", ours.url],
            env=environment(),
            check=True,
            capture_output=True,
            timeout=WAIT_S,
        )
        assert process.stdout is not None
        line = process.stdout.readline().decode()
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)
    if as_json:
        assert json.loads(line) == {
            "event": "accepted",
            "data": {"user": "ana\x9b", "message_id": "m1"},
        }
    else:
        assert line[8:] == " accepted user=ana\\x9b message_id=m1\n"


def test_a_service_that_comes_back_is_followed_again() -> None:
    """It ends the stream once, is away once, and is there again on the same port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    process = following("--url", f"http://127.0.0.1:{port}")
    # Whoever waits for a line that does not come reads the end of all lines instead.
    watchdog = threading.Timer(WAIT_S, process.kill)
    watchdog.start()
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        listener.settimeout(WAIT_S)
        with listener, listener.accept()[0] as first:
            first.recv(65_536)
            first.sendall(HEAD + b"event: one\ndata: {}\n\n")
            assert b" one" in process.stdout.readline()
        assert b"connecting again" in process.stderr.readline()
        assert b"nobody answers" in process.stderr.readline()
        with socket.create_server(("127.0.0.1", port)) as again, again.accept()[0] as second:
            second.recv(65_536)
            second.sendall(HEAD + b"event: two\ndata: {}\n\n")
            assert b" two" in process.stdout.readline()
            lines = [process.stderr.readline()]
            while lines[-1] and b"connected again" not in lines[-1]:
                lines.append(process.stderr.readline())
            assert lines[-1], lines
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate(timeout=WAIT_S)


def test_what_a_service_refuses_is_not_tried_for_ever(run: Run, scripted: Scripted) -> None:
    scripted.answers["/api/events"] = (401, {"detail": "a key is needed"})
    assert run("events", "--url", scripted.url).status == 1
    scripted.answers["/api/events"] = (200, {"not": "a stream"})
    said = run("events", "--url", scripted.url)
    assert said.status == 1
    assert "does not answer like an actor-queue" in said.err


def test_a_reader_that_goes_ends_it(run: Run, ours: Ours) -> None:
    process = following("--url", ours.url)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    until_listened(ours, process)
    run("send", "ana", "oi", "--url", ours.url)
    assert process.wait(WAIT_S) == 141
    with process.stderr:
        assert process.stderr.read() == b""
