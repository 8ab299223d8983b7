"""There is one list of samplers: each has a scheduler class, and every alias leads to one of them."""

from inspect import isclass

import diffusers
import pytest

from bot.samplers import SAMPLER_ALIASES, SAMPLERS
from inference.diffusion.samplers import SCHEDULERS


def test_each_sampler_has_a_scheduler_class_and_each_class_a_sampler():
    assert tuple(SCHEDULERS) == SAMPLERS
    assert len(set(SCHEDULERS.values())) == len(SAMPLERS)


@pytest.mark.parametrize("class_name", SCHEDULERS.values())
def test_each_scheduler_class_is_one_of_diffusers(class_name):
    assert isclass(getattr(diffusers, class_name))


def test_every_alias_leads_to_a_sampler():
    assert set(SAMPLER_ALIASES.values()) <= set(SAMPLERS)
