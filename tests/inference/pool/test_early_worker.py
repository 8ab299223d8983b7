"""A worker that starts before the pool imports its libraries meanwhile, and is the first process of the CPU."""

import os
import signal
import sys

import pytest

from inference.engine.base import engine_module
from inference.ipc.process import ChildProcess
from inference.pool import early_worker
from inference.pool.early_worker import EarlyWorker, is_cpu_only
from inference.settings import PoolSettings
from inference.worker.early_import import EarlyImport
from tests.inference.support import child_pid, finish, make_model, make_task, open_pool, wait_until

USES = {"cpu": True, ("cpu",): True, "cuda:0": False, ("cpu", "cuda:0"): False, "auto": True}


@pytest.mark.parametrize(("use", "expected"), USES.items())
def test_only_the_cpus_worker_starts_early(monkeypatch, use, expected):
    monkeypatch.setattr(early_worker, "has_no_accelerator", lambda: True)

    assert is_cpu_only(use) is expected


def test_a_card_may_be_there(monkeypatch):
    monkeypatch.setattr(early_worker, "has_no_accelerator", lambda: False)

    assert not is_cpu_only("auto")


class FakeChild:
    is_closed = False
    arguments: tuple[object, ...] = ()

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def child(monkeypatch):
    started = FakeChild()

    async def start(*arguments, threads):
        started.arguments = (*arguments, threads)
        return started

    monkeypatch.setattr(ChildProcess, "start", start)
    return started


async def test_it_is_taken_once_by_the_cpu(child):
    early = await EarlyWorker.start(PoolSettings(nice=5, threads=2), "inference.diffusion.engine")

    assert child.arguments == ("cpu", "inference.worker", "5", "inference.diffusion.engine", 2)
    assert early.take("cuda:0") is None
    assert early.take("cpu") is child
    assert early.take("cpu") is None
    await early.close()
    assert not child.is_closed


async def test_nobody_took_it(child):
    early = await EarlyWorker.start(PoolSettings(), "torch")

    await early.close()

    assert child.is_closed


def test_the_import_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / "slow_library.py").write_text("import time; time.sleep(0.05)\n")
    monkeypatch.syspath_prepend(tmp_path)
    library = EarlyImport("slow_library")

    library.wait()

    assert "slow_library" in sys.modules
    assert library.unreported_s >= 0.05


@pytest.mark.parametrize("module", ["", "no_such_library"])
def test_what_cannot_be_imported_is_left_to_the_engine(module):
    EarlyImport(module).wait()


def test_the_engine_of_a_model():
    assert engine_module(make_model(tasks=("text-to-image", "image-to-image"))) == "inference.diffusion.engine"
    assert engine_module(make_model(tasks=("text-to-image", "image-to-text"))) == ""


@pytest.mark.process
@pytest.mark.usefixtures("forked_workers")
async def test_the_pool_uses_it_and_replaces_it_when_it_is_lost():
    early = await EarlyWorker.start(PoolSettings(nice=0), "colorsys")
    async with open_pool(early=early) as pool:
        pid = child_pid(pool)
        assert (await finish(pool, make_task())).images
        assert child_pid(pool) == pid

        os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: pool.device_statuses()[0].restarts == 1 and pool.list_offers())

        assert (await finish(pool, make_task(id="second"))).images
    await early.close()
