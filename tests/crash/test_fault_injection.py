"""Without one of its protections the house fails the crash test: so the crash test tests them."""

import pytest

from tests.crash.harness import Moment, Round

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    ("sabotage", "moment", "faults"),
    [
        ("answer_first", Moment("after accept", times=6), {"lost"}),
        ("write_files_later", Moment("after render"), {"media"}),
        ("change_nonces", Moment("after place", times=2), {"stray", "duplicate"}),  # whichever call stays unanswered
        ("forget_running", Moment("before render"), {"unfinished"}),
    ],
)
def test_a_house_without_this_protection_fails(tmp_path, sabotage, moment, faults):
    one = Round(seed=3, kills=1, moments=(moment,), sabotage=sabotage, open_s=10, silence_s=8)

    verdict = one.run(tmp_path)

    assert faults & set(verdict.faults), verdict
