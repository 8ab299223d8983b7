"""A served Easel with fake engines, as for the tests of REST."""

import itertools
import shutil

import pytest
import pytest_asyncio

from tests.sdapi.sd_client import basic
from tests.web.conftest import (  # noqa: F401 - fixtures
    a_picture,
    client,
    easel,
    open_client,
    open_easel,
    plain_log,
    server,
    shared_client,
    shared_server,
    upgraded_data,
)

_NUMBERS = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed_server(tmp_path_factory, upgraded_data):  # noqa: F811
    """One server for the tests of a module whose callers have keys."""
    data_dir = tmp_path_factory.mktemp("keyed")
    shutil.copytree(upgraded_data, data_dir, dirs_exist_ok=True)
    async with open_easel(data_dir) as easel:  # noqa: F811
        await easel.serve()
        await easel.create_key("First")
        yield easel


@pytest_asyncio.fixture(loop_scope="module")
async def keyed(keyed_server):
    """Its client. Slow jobs wait again."""
    keyed_server.pool.go_on.clear()
    async with open_client(keyed_server) as opened:
        yield opened
    keyed_server.pool.go_on.set()


@pytest.fixture
def new_caller(keyed_server):
    """Returns the header of a new person."""

    async def create():
        return basic("anybody", await keyed_server.create_key(f"Person {next(_NUMBERS)}"))

    return create
