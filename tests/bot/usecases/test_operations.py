import asyncio
from dataclasses import replace

import pytest

from bot.errors import StorageBusy
from bot.jobs import JobState
from bot.ports import DeviceStatus, StorageState, WorkMetrics
from bot.usecases import Operations
from tests.fakes import FakeJobStore, make_job


class FakeMaintenance:
    def __init__(self):
        self.backups = []

    async def backup(self, path):
        self.backups.append(path)

    async def check(self):
        return ["One row is odd."]

    def free_mb(self):
        return 1000


class FakeMonitor:
    async def read_state(self):
        return StorageState()

    async def read_webhooks(self):
        return []


@pytest.fixture
def store():
    return FakeJobStore(make_job())


def make_operations(store, *states):
    devices = [DeviceStatus(device=f"cuda:{number}", state=state) for number, state in enumerate(states)]
    return Operations(store, FakeMaintenance(), lambda: devices, FakeMonitor())


async def test_with_a_database_and_a_worker_the_server_is_ready(store):
    database, workers = await make_operations(store, "starting", "ready").check_readiness()

    assert database.is_ok
    assert workers.is_ok
    assert database.details["queued"] == 1


@pytest.mark.parametrize("states", [(), ("starting",), ("restarting", "stopped")])
async def test_without_a_worker_the_server_is_not_ready(store, states):
    _, workers = await make_operations(store, *states).check_readiness()

    assert not workers.is_ok


async def test_without_a_responding_database_the_server_is_not_ready(store):
    store.failures["count_by_state"] = [StorageBusy()]

    database, _ = await make_operations(store, "ready").check_readiness()

    assert (database.is_ok, "storage_busy" in database.sentence) == (False, True)


async def test_the_database_is_asked_once_a_second_however_many_want_to_know(store):
    now = 0.0
    operations = replace(make_operations(store, "ready"), now=lambda: now)
    await asyncio.gather(*(operations.check_readiness() for _ in range(50)))
    store.failures["count_by_state"] = [StorageBusy()]
    cached, _ = await operations.check_readiness()
    now = 1.0
    fresh, _ = await operations.check_readiness()
    now = 2.0
    again, _ = await operations.check_readiness()

    assert [check.is_ok for check in (cached, fresh, again)] == [True, False, True]


async def test_figures_backup_and_check_go_through(store, tmp_path):
    operations = make_operations(store)
    await operations.backup_database(tmp_path / "copy.db")

    assert (await operations.count_by_state())[JobState.QUEUED] == 1
    assert operations.maintenance.backups == [tmp_path / "copy.db"]
    assert await operations.check_database() == ["One row is odd."]


async def test_a_platform_that_is_away_is_told_and_the_server_is_ready_without_it(store):
    operations = make_operations(store, "ready")
    operations.report_platform("discord", "Discord is connected.", is_ok=True)
    operations.report_platform("discord", "Discord refused the token.", is_ok=False)

    *required, discord = await operations.check_readiness()

    assert (discord.name, discord.is_ok, discord.is_required) == ("discord", False, False)
    assert all(check.is_ok and check.is_required for check in required)


async def test_a_connection_that_is_lost_is_counted_each_time_and_once_from_zero(store):
    lost = []

    class Counted(WorkMetrics):
        def count_reconnect(self, platform, times=1):
            lost.append((platform, times))

    operations = Operations(store, FakeMaintenance(), list, FakeMonitor(), Counted())
    for is_ok in (False, True, True, False, False, True, False):
        operations.report_platform("discord", "x", is_ok=is_ok)

    assert lost == [("discord", 0), ("discord", 1), ("discord", 1)]
