"""Fixtures that tests of several use cases share."""

import pytest

from tests.bot.usecases.training_env import make_env


@pytest.fixture
def env(tmp_path):
    """For trainings."""
    return make_env(tmp_path)
