"""`easel mcp` over pipes: its lines, how it ends, and what becomes of jobs then."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import Any

import pytest

from composition.settings import ROOT
from tests.backends_required import require_backend

require_backend("mcp")

from adapters.cli import mcp_server  # noqa: E402 - after the library is known to be there

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


async def read_lines(content):
    """(the messages, the answers to other lines)"""
    refusals = []

    async def answer(refusal):
        refusals.append(refusal.error.message)

    lines = mcp_server.StdinLines(io.BytesIO(content), mcp_server.UnansweredRequests())
    lines.answer = answer
    async with asyncio.timeout(10):
        return [line async for line in lines], refusals


def note(name):
    return json.dumps({"jsonrpc": "2.0", "method": name})


async def test_lines_end_in_any_way_and_empty_ones_are_skipped():
    content = f"\ufeff{note('a')}\r\n\r\n\n{note('b')}\n{note('c')}".encode()

    assert await read_lines(content) == ([note("a"), note("b"), note("c")], [])


async def test_a_line_that_is_no_message_is_answered(monkeypatch):
    monkeypatch.setattr(mcp_server, "MAX_LINE", 64)
    content = b"\xff\n" + b"x" * 200 + b"\n" + note("a").encode() + b"\n[]\n"

    lines, refusals = await read_lines(content)

    assert lines == [note("a")]
    assert [sentence.split(":")[0] for sentence in refusals] == [
        "The message is not valid JSON in UTF-8.",
        "The message is too long",
        "Batches are not supported",
    ]


@contextmanager
def running():
    """`easel mcp`, which has been initialized."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, str(ROOT / "main.py"), "mcp"], text=True, **pipes) as process:
        try:
            send(process, INITIALIZE)
            assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "easel"
            yield process
        finally:
            process.kill()


def send(process, message):
    process.stdin.write(f"{json.dumps(message)}\n")
    process.stdin.flush()


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.usefixtures("data_dir")
def test_a_signal_ends_it_while_it_waits_for_its_program():
    with running() as process:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (143, "")


@pytest.mark.process
@pytest.mark.usefixtures("data_dir")
def test_the_end_of_stdin_ends_it_after_the_last_answer():
    with running() as process:
        rest, errors = process.communicate(
            '{"jsonrpc": "2.0", "id": "\\ud800", "method": "ping"}\n{"jsonrpc": "2.0", "id": 2, "method": "ping"}',
            timeout=60,
        )

    answers = [json.loads(line) for line in rest.splitlines()]
    assert [(one["id"], "error" in one) for one in answers] == [(None, True), (2, False)]
    assert (process.returncode, errors) == (0, "")


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.usefixtures("data_dir")
def test_a_program_that_reads_no_answers_does_not_delay_the_end():
    with running() as process:
        for number in range(60):
            send(process, {"jsonrpc": "2.0", "id": number, "method": "tools/list"})
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)

    assert process.returncode == 143
