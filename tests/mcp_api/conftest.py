"""The server of tests/web, as an MCP client finds it."""

from tests.web.conftest import (  # noqa: F401 - fixtures
    a_picture,
    easel,
    plain_log,
    server,
    shared_server,
    upgraded_data,
)
