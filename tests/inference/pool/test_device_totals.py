"""What a device has done, over all its worker processes."""

import pytest

from bot.errors import EngineTimeout, OutOfMemory
from bot.ports import DeviceTotals, Measurement, ModelCapabilities
from inference.ipc.messages import Heartbeat, ModelLoaded
from inference.pool.watchdog import DeviceRecord, TaskHandle
from tests.inference.support import finish, make_model, make_task, open_pool, wait_until


def loaded(name, *models, seconds=None):
    measured = Measurement(
        device="cpu", model=name, dtype="f", shape="", batch_size=1, what="load", seconds=seconds or 0.0
    )
    capabilities = None if seconds is None else ModelCapabilities(model=name, capabilities={})
    return ModelLoaded(model=name, loaded_models=models, capabilities=capabilities, measurements=(measured,))


def test_a_load_that_replaces_a_model_is_a_swap():
    record = DeviceRecord()
    record.add_load((), loaded("a", "a", seconds=2.0))
    record.add_load(("a",), loaded("b", "a", "b", seconds=3.0))
    record.add_load(("a", "b"), loaded("c", "b", "c", seconds=4.0))

    assert (record.totals.loads, record.totals.load_s, record.totals.swaps) == (3, 9.0, 1)


def test_a_load_that_failed_is_not_counted():
    record = DeviceRecord()
    record.add_load(("a",), loaded("b", "a"))

    assert record.totals == DeviceTotals()


def test_passes_of_several_heartbeats_add_up():
    record = DeviceRecord()
    for beat in (Heartbeat(100, total_mb=900, passes=3, rows=12), Heartbeat(90, total_mb=900, passes=1, rows=1)):
        record.add_heartbeat(beat)

    assert (record.totals.passes, record.totals.rows, record.totals.memory_mb) == (4, 13, 900)


async def test_tasks_that_share_a_device_add_their_seconds():
    totals = DeviceTotals()
    first, second = (TaskHandle(make_task(id=name), totals=totals) for name in "ab")
    for handle, used_s in ((first, 1.0), (second, 0.5), (first, 1.5), (second, 0.5)):
        handle.record_usage(10.0, used_s, has_stepped=True)

    assert totals.busy_s == 2.0


@pytest.mark.parametrize(("error", "name"), [(OutOfMemory("x"), "out_of_memory"), (EngineTimeout(9), "timeouts")])
async def test_a_task_that_ends_so_is_counted_once(error, name):
    totals = DeviceTotals()
    handle = TaskHandle(make_task(), totals=totals)
    handle.put_event(error)
    handle.put_event(error)

    assert getattr(totals, name) == 1


@pytest.mark.process
async def test_a_device_counts_what_its_process_does():
    models = [make_model("a"), make_model("b")]
    async with open_pool(models, max_loaded_models=1, heartbeat_timeout_s=2.0) as pool:
        for model in models:
            await finish(pool, make_task(f"sleep=0.02 {model.name}", model=model))
        [status] = pool.device_statuses()
        await wait_until(lambda: pool.device_statuses()[0].totals.memory_mb)

    assert (status.totals.loads, status.totals.swaps) == (2, 1)
    assert status.totals.busy_s >= 0.1
