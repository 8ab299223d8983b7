"""The server of tests/web, as a client of OpenAI's API finds it: with some key, although none exists."""

import pytest
import pytest_asyncio

from tests.web.conftest import (  # noqa: F401 - fixtures
    a_picture,
    easel,
    open_client,
    plain_log,
    server,
    shared_server,
    upgraded_data,
)

SOME_KEY = {"Authorization": "Bearer sk-none"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(shared_server):  # noqa: F811 - the fixture
    async with open_client(shared_server) as opened:
        opened.headers.update(SOME_KEY)
        yield opened


@pytest.fixture
def tasks(shared_server, monkeypatch):  # noqa: F811 - the fixture
    """Those that the pool ran."""
    seen, run_task = [], shared_server.pool.run_task

    def run(task):
        seen.append(task)
        return run_task(task)

    monkeypatch.setattr(shared_server.pool, "run_task", run)
    return seen
