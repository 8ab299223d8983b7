"""SIGKILL at 12 random moments under load. `python -m tests.crash` does it for longer, and with the real models."""

import os
import random

import pytest

from tests.crash.harness import Round

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

SEED = int(os.environ.get("EASEL_TEST_CRASH_SEED") or random.randrange(10**6))
"""Another one each time: what it finds, this variable finds again."""


def test_twelve_kills_under_load_lose_double_and_miscount_nothing(tmp_path):
    print(f"EASEL_TEST_CRASH_SEED={SEED}")

    verdict = Round(seed=SEED, kills=12, wave=5).run(tmp_path)

    assert verdict.is_sound, f"EASEL_TEST_CRASH_SEED={SEED}, left in {tmp_path}:\n{verdict}"
    assert verdict.accepted >= 12
    assert verdict.captured > 0, "nothing cost anything, so the ledger was not tested"
