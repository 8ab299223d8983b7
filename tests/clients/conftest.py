"""The server of tests/web, for the programs that docs/clients.md names: the real clients drive it."""

import platform

from tests.web.conftest import easel, plain_log, server, shared_server, upgraded_data  # noqa: F401 - fixtures

platform.processor()  # clients report it; to find it, Python starts a process, which tests may not
