import sys
from collections.abc import Iterator

import pytest

from bot.runtime.open_files import WANTED_FILES, max_open_files, raise_open_file_limit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")


@pytest.fixture
def hard_limit() -> Iterator[int]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(hard_limit):
    before = max_open_files()
    raise_open_file_limit()
    after = max_open_files()
    raise_open_file_limit()

    assert before == 512
    assert after == max_open_files() == (WANTED_FILES if hard_limit < 0 else min(WANTED_FILES, hard_limit))
