"""A served Easel with fake engines, as for the tests of REST."""

from tests.web.conftest import (  # noqa: F401 - fixtures
    a_picture,
    client,
    easel,
    plain_log,
    server,
    shared_client,
    shared_server,
    upgraded_data,
)
