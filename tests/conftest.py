from collections import UserDict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from storage import connections

# Time per example says nothing on a machine that also does other work.
settings.register_profile("easel", deadline=None)
settings.load_profile("easel")


LONG = (
    "tests/test_first_hour.py",
    "tests/test_journey.py",
    "tests/crash/",
    "tests/test_first_model.py",
    "tests/training/",
    "tests/discord/test_restart.py",
    "tests/telegram/test_restart.py",
    "tests/inference/test_real_engines.py",
    "tests/web/test_page.py",
    "tests/cli/test_update.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take a minute go first, so that no worker is left alone with one at the end."""

    def place(item: pytest.Item) -> int:
        name = item.nodeid
        return next((place for place, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)


class Statements(UserDict[Any, Any]):
    """Compiled statements of engines of one kind: SQLAlchemy's own keys begin with the engine's dialect."""

    def __contains__(self, key: Any) -> bool:
        return (type(key[0]), *key[1:]) in self.data

    def __getitem__(self, key: Any) -> Any:
        return self.data[type(key[0]), *key[1:]]

    def __setitem__(self, key: Any, compiled: Any) -> None:
        self.data[type(key[0]), *key[1:]] = compiled


@pytest.fixture(scope="session", autouse=True)
def statements_compiled_once() -> Iterator[None]:
    """Each engine compiles its statements anew: half the work of a test that opens a storage of its own."""
    create, options = connections.create_engine, {"compiled_cache": Statements()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            connections, "create_engine", lambda *args, **more: create(*args, execution_options=options, **more)
        )
        yield
