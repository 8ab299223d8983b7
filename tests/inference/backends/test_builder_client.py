"""The parent of the process that makes builds: whatever happens to that process, nothing half-made stays."""

import asyncio
import os
import subprocess
import sys
import time

import psutil  # type: ignore[import-untyped]
import pytest

from bot.errors import ModelRefused
from bot.ports import BuildProgress, BuildReport, BuildRequest
from inference.backends import builds
from inference.backends.builder_client import BuilderClient
from inference.ipc import pause_relay
from inference.ipc.process import ChildProcess
from tests.fork_server.spawn import spawn_from
from tests.inference.support import make_model, seconds_until_exit

pytestmark = pytest.mark.process


@pytest.fixture
def client(tmp_path, monkeypatch, worker_forks):
    forks = {"tests.inference.backends.stand_in_builder": worker_forks["inference.worker"]}
    monkeypatch.setattr(ChildProcess, "spawn", spawn_from(forks))
    monkeypatch.setattr(pause_relay, "POLL_S", 0.01)
    (tmp_path / "model" / "unet").mkdir(parents=True)
    (tmp_path / "model" / "unet" / "weights.safetensors").write_bytes(b"weights")
    return BuilderClient(tmp_path / builds.FOLDER, module="tests.inference.backends.stand_in_builder")


def request_for(client, title=""):
    return BuildRequest(
        model=make_model("fox", title=title, repo=str(client.folder.parent / "model")), backend="openvino"
    )


async def collect(client, title="", is_paused=lambda: False):
    return [event async for event in client.make(request_for(client, title), is_paused=is_paused)]


def folders(client):
    return [path.name for path in client.folder.iterdir() if path.is_dir()]


async def test_the_report_comes_after_the_progress(client):
    events = await collect(client)

    assert events[0] == BuildProgress("exporting")
    assert isinstance(events[-1], BuildReport)
    assert len(folders(client)) == 1


FAILURES = {
    "refused": "it has no denoiser to compile",
    "unavailable": "/models/fox does not exist",
    "killed": "the process that compiled it ended, perhaps because memory ran out",
}


@pytest.mark.parametrize(("title", "detail"), FAILURES.items())
async def test_a_failure_is_one_sentence_and_leaves_nothing(client, title, detail):
    with pytest.raises(ModelRefused) as refused:
        await collect(client, title)

    assert (refused.value.problem, refused.value.detail) == ("build", detail)
    assert folders(client) == []


async def test_a_process_that_cannot_start_is_said(client, monkeypatch):
    async def refuse(*_, **__):
        raise OSError("no memory")

    monkeypatch.setattr(ChildProcess, "start", refuse)
    with pytest.raises(ModelRefused) as refused:
        await collect(client)
    assert "could not be started" in refused.value.detail


async def test_cancelling_ends_the_process_and_leaves_nothing(client, monkeypatch):
    started = []
    start = ChildProcess.start

    async def remember(*args, **kwargs):
        started.append(await start(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(ChildProcess, "start", remember)
    running = asyncio.create_task(collect(client, "hangs"))
    while not client.folder.exists() or not folders(client):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    seconds_until_exit(started[0].pid)
    assert folders(client) == []


KILLED_PARENT = """
import asyncio, sys
from pathlib import Path
from inference.backends.builder_client import BuilderClient
from tests.inference.backends.test_builder_client import collect
client = BuilderClient(Path(sys.argv[1]), module="tests.inference.backends.stand_in_builder")
asyncio.run(collect(client, "hangs"))
"""


def test_the_process_ends_with_a_killed_server_and_what_it_left_is_deleted_at_the_next_start(client):
    server = subprocess.Popen([sys.executable, "-c", KILLED_PARENT, str(client.folder)])
    while not client.folder.exists() or not list(client.folder.glob("*/graph.xml")):
        time.sleep(0.02)
    children = [child.pid for child in psutil.Process(server.pid).children()]
    server.kill()
    server.wait()

    assert children
    for pid in children:
        seconds_until_exit(pid)
    assert client.remove_unfinished() == 1
    assert folders(client) == []


async def test_builds_are_made_one_after_another(client):
    """The second would compete for memory, and be measured beside the first."""
    first = client.make(request_for(client), is_paused=lambda: False)
    assert await anext(first) == BuildProgress("exporting")
    second = asyncio.create_task(collect(client))
    await asyncio.sleep(0.05)
    assert not second.done()
    await first.aclose()

    assert (await second)[0] == BuildProgress("waiting")
    assert len(folders(client)) == 1


async def test_it_waits_while_jobs_run(client):
    events = await collect(client, "paused", is_paused=lambda: True)

    assert BuildProgress("paused True") in events


async def test_the_data_directory_reaches_the_worker(monkeypatch, tmp_path):
    """Which finds builds there."""
    from inference.ipc.environment import clean_environment

    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    assert clean_environment(os.environ)["EASEL_DATA_DIR"] == str(tmp_path)
    assert builds.builds_dir() == tmp_path / "builds"


def test_without_its_library_a_backend_is_refused(client, monkeypatch):
    monkeypatch.setattr(builds, "library_version", lambda _: "")
    with pytest.raises(ModelRefused) as refused:
        client.find(request_for(client))
    assert refused.value.problem == "no_backend"
