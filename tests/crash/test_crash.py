"""SIGKILL at 12 random moments under load. `python -m tests.crash` does the same for longer, and with the real models."""

import os
import random

import pytest

from tests.crash.harness import Round

pytestmark = [pytest.mark.crash, pytest.mark.timeout(240)]

SEED = int(os.environ.get("EASEL_TEST_CRASH_SEED") or random.randrange(10**6))
"""Another one each time: what it finds, this variable finds again."""


@pytest.mark.parametrize("half", [0, 1])
def test_nothing_is_lost_doubled_or_miscounted_by_six_kills(tmp_path, half):
    seed = SEED + half
    print(f"EASEL_TEST_CRASH_SEED={SEED}")

    verdict = Round(seed=seed, kills=6).run(tmp_path)

    assert verdict.is_sound, f"round {seed}, left in {tmp_path}:\n{verdict}"
    assert verdict.accepted >= 40
    assert verdict.captured > 0, "nothing cost anything, so the ledger was not tested"
