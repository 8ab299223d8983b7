"""Without any one of its protections Easel fails the crash test, which shows that the crash test covers them."""

import pytest

from tests.crash.harness import Moment, Round

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("injection", "moment", "faults"),
    [
        ("answer_first", Moment("after accept_jobs", times=6), {"lost"}),
        ("write_files_later", Moment("after save_result"), {"media"}),
        (
            "change_nonces",
            Moment("after place", times=2),
            {"stray", "duplicate"},
        ),  # depending on the call that stays unanswered
        ("forget_running", Moment("before save_result"), {"unfinished"}),
    ],
)
def test_without_this_protection_the_crash_test_fails(tmp_path, crash_forks, injection, moment, faults):
    one = Round(
        seed=3,
        kills=1,
        moments=(moment,),
        injection=injection,
        open_s=10,
        idle_timeout_s=8,
        forks=crash_forks,
    )

    verdict = one.run(tmp_path)

    assert faults & set(verdict.faults), verdict
