import asyncio
import shutil

import pytest
from structlog.testing import capture_logs

from storage import StorageSettings, open_storage

SETTINGS = StorageSettings(min_free_mb=0, busy_timeout_ms=200)


@pytest.fixture(autouse=True)
def logged():
    """The log events of the test, as dicts."""
    with capture_logs() as events:
        yield events


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory):
    """An empty database with all tables; copying it is faster than migrating each time."""
    folder = tmp_path_factory.mktemp("fresh")

    async def make() -> None:
        async with open_storage(SETTINGS, folder):
            pass

    with capture_logs():
        asyncio.run(make())
    return folder / "easel.db"


@pytest.fixture
def data_dir(tmp_path, fresh_database):
    shutil.copy(fresh_database, tmp_path / "easel.db")
    return tmp_path


@pytest.fixture
async def storage(data_dir):
    async with open_storage(SETTINGS, data_dir) as storage:
        yield storage


@pytest.fixture
async def ann(storage):
    return await storage.people.identify_account("discord", "1", "Ann")


@pytest.fixture
async def ben(storage):
    return await storage.people.identify_account("discord", "2", "Ben")
