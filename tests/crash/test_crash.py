"""SIGKILL at 5 random moments under load. `python -m tests.crash` runs longer, and with the real models."""

import os
import random

import pytest

from tests.crash.harness import Round

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600), pytest.mark.process]

SEED = int(os.environ.get("EASEL_TEST_CRASH_SEED") or random.randrange(10**6))
"""A new seed each time; the variable reproduces a failure."""


def test_five_kills_under_load_neither_lose_nor_duplicate_jobs_and_keep_the_ledger_balanced(tmp_path, crash_forks):
    print(f"EASEL_TEST_CRASH_SEED={SEED}")

    verdict = Round(seed=SEED, kills=5, wave=5, forks=crash_forks).run(tmp_path)

    assert verdict.is_sound, f"EASEL_TEST_CRASH_SEED={SEED}, left in {tmp_path}:\n{verdict}"
    assert verdict.accepted >= 5
    assert verdict.captured > 0, "nothing cost anything, so the ledger was not tested"


def test_a_kill_of_a_really_started_server_neither_loses_nor_duplicates_jobs(tmp_path):
    print(f"EASEL_TEST_CRASH_SEED={SEED}")

    verdict = Round(seed=SEED, kills=1, wave=5).run(tmp_path)

    assert verdict.is_sound, f"EASEL_TEST_CRASH_SEED={SEED}, left in {tmp_path}:\n{verdict}"
    assert verdict.accepted
