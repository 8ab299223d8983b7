import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def logged():
    """The log events of the test, as dicts."""
    with capture_logs() as events:
        yield events
