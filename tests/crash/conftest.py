from collections.abc import Mapping

import pytest

from tests.fork_server.client import Forks


@pytest.fixture(scope="session")
def crash_forks(server_forks: Forks, worker_forks: Mapping[str, str]) -> Forks:
    """The server and its children forked, with the engines of tests."""
    return Forks(server_forks.program, worker_forks)
