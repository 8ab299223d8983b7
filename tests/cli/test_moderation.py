"""On the owner's command line, `safety.local_policy` decides what is shown that was not or cannot be checked."""

import json

import pytest

from bot.safety import SafetySettings
from tests.moderation import SOME_WEIGHTS
from tests.new_command import registered  # noqa: F401 - a fixture for all of this module


@pytest.fixture
def set_safety(composition):
    def set_safety(**settings):
        composition.settings["safety"] = SafetySettings(**{"classifier": SOME_WEIGHTS, **settings})

    return set_safety


@pytest.mark.parametrize(
    ("command", "policy", "spoiler"),
    [("upscale", "block", None), ("mirror", "block", None), ("mirror", "spoiler", True), ("upscale", "allow", False)],
)
def test_a_sexual_image_is_judged_by_the_owners_policy(call, fox, set_safety, command, policy, spoiler):
    set_safety(local_policy=policy)
    made = call(command, str(fox), "nude", "--json")

    assert made.code == (1 if spoiler is None else 0)
    if spoiler is not None:
        assert json.loads(made.out)["result"]["media"][0]["spoiler"] is spoiler


@pytest.mark.parametrize(("policy", "spoiler"), [("block", None), ("spoiler", True), ("allow", False)])
def test_an_image_without_a_score_is_judged_by_the_owners_policy(call, fox, set_safety, policy, spoiler):
    set_safety(local_policy=policy, classifier="models/none", second_classifier="")
    made = call("imagine", "unseen", "--image", str(fox), "--json")

    assert made.code == (1 if spoiler is None else 0)
    if spoiler is not None:
        body = json.loads(made.out)
        assert body["result"]["media"][0]["spoiler"] is spoiler
        assert any("not checked" in note for note in body["result"]["notes"])
