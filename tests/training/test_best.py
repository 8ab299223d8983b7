"""How ways of choosing among pictures are counted, on pictures whose marks and scores are given."""

import pytest

from bot.commands.best_of import Round, plan_rounds
from training.evaluate_best import ROUNDS, ROWS, STEPS, JudgedPrompt, count_pictures, keep_rows, summarize


def judged(right, final, early=None, **changes):
    early = early or {str(step): final for step, _ in ROUNDS}
    plain = {"kind": "sized", "caption": "a", "render": 3.0, "other": -19.0, "picture_s": 1.0, "judged_s": 0.0}
    return JudgedPrompt(**{**plain, "right": right, "final": final, "early": early, **changes})


ONE_RIGHT = [False] * 7 + [True]


def test_it_halves_as_easel_does():
    assert plan_rounds(ROWS, STEPS) == tuple(Round(*one) for one in ROUNDS)


def test_a_perfect_judge_closes_the_gap_and_wins_by_halving():
    table = summarize([judged(ONE_RIGHT, [float(row) for row in range(8)])])

    assert (table["one picture"], table["best of 4"], table["gap closed"]) == (12.5, 50.0, 100.0)
    assert (table["halving of 8"], table["won by halving"] > 40) == (100.0, True)
    assert table["right rows dropped"] == "0 of 1"


def test_a_judge_that_is_wrong_early_drops_what_is_right():
    early = {str(step): [float(-row) for row in range(8)] for step, _ in ROUNDS}
    one = judged(ONE_RIGHT, [float(row) for row in range(8)], early)
    table = summarize([one])

    assert keep_rows(one) == [0, 1]
    assert (table["right rows dropped"], table["prompts that lost all right rows"]) == ("1 of 1", "1 of 1")


def test_previews_count_as_device_time():
    free, dear = (count_pictures([judged(ONE_RIGHT, [0.0] * 8, judged_s=cost)]) for cost in (0.0, 0.1))

    assert free == pytest.approx((8 * 3 + 4 * 4 + 2 * 5) / 12)
    assert dear == pytest.approx(free + 1.2)


def test_a_note_is_wrong_where_a_right_picture_has_a_low_score():
    table = summarize([judged([True] * 8, [-19.0] + [9.0] * 7)])

    assert table["low match"] == {
        "of fully right pictures": 12.5,
        "of true renders": 0.0,
        "of renders of another scene": 100.0,
    }
