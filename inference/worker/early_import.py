"""Imports what the first engine needs while the process waits for its first messages.

It takes seconds, and the server needs seconds to start. Nothing else imports such a library before the import is
complete: two threads that import modules which need each other can each see a half of them.
"""

import contextlib
import threading
import time
from importlib import import_module


class EarlyImport:
    """`module`: empty: nothing is imported early. `unreported_s`: seconds that no load has counted as its own."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._thread = threading.Thread(target=self._import, name="import", daemon=True)
        self.unreported_s = 0.0
        if module:
            self._thread.start()

    def wait(self) -> None:
        if self._module:
            self._thread.join()

    def _import(self) -> None:
        started = time.monotonic()
        with contextlib.suppress(Exception):  # the engine's own import says what is wrong
            import_module(self._module)
        self.unreported_s = time.monotonic() - started
