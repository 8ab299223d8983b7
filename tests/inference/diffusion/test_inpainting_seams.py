"""Repainted regions of three held-out scenes on the starter; `benchmarks.inpainting_seams` measures a hundred."""

import pytest
import torch

from benchmarks.inpainting_seams import MAX_OLD, MAX_SEAM, SeamTrial

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.fixture(scope="module")
def trial():
    torch.set_num_threads(1)
    return SeamTrial(3)


def test_a_new_thing_has_no_visible_seam(trial):
    made = trial.repaint_things()

    assert all(one.is_kept for one in made)
    assert max(one.seam for one in made) <= MAX_SEAM


def test_a_new_ground_leaves_nothing_of_the_old_one_and_the_thing_as_it_was(trial):
    made = trial.repaint_grounds()

    assert all(one.is_kept for one in made)
    assert max(one.old for one in made) <= MAX_OLD
    assert min(one.new for one in made) > 0.9
