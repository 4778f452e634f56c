"""`events`: follows what happens, over a service that goes and comes back."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from actor_queue.app.commands.events import Event, read_events
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


def test_an_event_without_an_end_is_thrown_away_and_the_next_is_read() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"event: huge\ndata: "
        for _ in range(100):
            yield b"x" * 65_536
        yield b"\n\nevent: next\ndata: 1\n\n"

    assert list(read_events(pieces())) == [Event("next", "1")]


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
