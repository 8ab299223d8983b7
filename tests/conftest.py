from collections import UserDict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from storage import sqlite

# Time per example says nothing on a machine that also does other work.
settings.register_profile("easel", deadline=None)
settings.load_profile("easel")


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
    create, options = sqlite.create_async_engine, {"compiled_cache": Statements()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sqlite, "create_async_engine", lambda *args, **more: create(*args, execution_options=options, **more)
        )
        yield
