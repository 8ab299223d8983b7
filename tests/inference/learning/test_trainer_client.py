"""The parent of the process that trains: what happens to that process is a sentence, and it ends with its parent."""

import asyncio
import subprocess
import sys
import time

import psutil  # type: ignore[import-untyped]
import pytest

from bot.error_texts import explain
from bot.errors import TrainingRefused
from bot.ports import TrainingProgress, TrainingReport
from inference.ipc import pause_relay
from inference.ipc.process import ChildProcess
from inference.learning.trainer_client import TrainerClient
from tests.fork_server.spawn import spawn_from
from tests.inference.learning.trainings import make_request
from tests.inference.support import seconds_until_exit

pytestmark = pytest.mark.process
MODULE = "tests.inference.learning.stand_in_trainer"


@pytest.fixture
def client(monkeypatch, worker_forks):
    monkeypatch.setattr(ChildProcess, "spawn", spawn_from({MODULE: worker_forks["inference.worker"]}))
    monkeypatch.setattr(pause_relay, "POLL_S", 0.01)
    return TrainerClient(module=MODULE)


async def collect(client, place, name="foxes", is_paused=lambda: False):
    return [event async for event in client.train(make_request(place, name=name), is_paused=is_paused)]


async def test_the_report_comes_after_the_progress(client, tmp_path):
    events = await collect(client, tmp_path)

    assert events[0] == TrainingProgress(stage="checking")
    assert isinstance(events[-1], TrainingReport)


FAILURES = {
    "refused": "Line 3 of metadata.jsonl has no answer: give it a question and an answer, or a caption.",
    "unavailable": "The training failed (model_unavailable); nothing has changed. The log has the details.",
    "killed": "The process of the training ended, perhaps because memory ran out. Start it again: it resumes where it "
    "stopped.",
}


@pytest.mark.parametrize(("name", "sentence"), FAILURES.items())
async def test_a_failure_is_one_sentence(client, tmp_path, name, sentence):
    with pytest.raises(TrainingRefused) as refused:
        await collect(client, tmp_path, name)

    assert explain(refused.value) == sentence


async def test_a_process_that_cannot_start_is_said(client, tmp_path, monkeypatch):
    async def refuse(*_, **__):
        raise OSError("no memory")

    monkeypatch.setattr(ChildProcess, "start", refuse)
    with pytest.raises(TrainingRefused) as refused:
        await collect(client, tmp_path)
    assert "could not be started" in explain(refused.value)


async def test_cancelling_ends_the_process(client, tmp_path, monkeypatch):
    started = []
    start = ChildProcess.start

    async def remember(*args, **kwargs):
        started.append(await start(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(ChildProcess, "start", remember)
    running = asyncio.create_task(collect(client, tmp_path, "hangs"))
    while not (tmp_path / "work").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    seconds_until_exit(started[0].pid)


KILLED_PARENT = """
import asyncio, sys
from pathlib import Path
from inference.learning.trainer_client import TrainerClient
from tests.inference.learning.test_trainer_client import MODULE, collect
asyncio.run(collect(TrainerClient(module=MODULE), Path(sys.argv[1]), "hangs"))
"""


def test_the_process_ends_with_a_killed_server(tmp_path):
    server = subprocess.Popen([sys.executable, "-c", KILLED_PARENT, str(tmp_path)])
    while not (tmp_path / "work").exists():
        time.sleep(0.02)
    children = [child.pid for child in psutil.Process(server.pid).children()]
    server.kill()
    server.wait()

    assert children
    for pid in children:
        seconds_until_exit(pid)


async def test_trainings_are_made_one_after_another(client, tmp_path):
    first = client.train(make_request(tmp_path, name="hangs"), is_paused=lambda: False)
    assert await anext(first) == TrainingProgress(stage="checking")
    second = asyncio.create_task(collect(client, tmp_path))
    await asyncio.sleep(0.05)
    assert not second.done()
    await first.aclose()

    assert (await second)[0] == TrainingProgress(stage="queued")


async def test_it_waits_while_jobs_run(client, tmp_path):
    events = await collect(client, tmp_path, "paused", is_paused=lambda: True)

    assert TrainingProgress(stage="paused True") in events
