"""From an image's score and its space's policy to how it is shown."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.error_texts import UNCHECKED
from bot.errors import Blocked
from bot.ports import SafetyRules
from bot.safety import Verdict, apply_rules
from bot.safety.policy import check_input_score, verdict
from tests.fakes import make_done

SHOW, SPOILER, BLOCK = Verdict.SHOW, Verdict.SPOILER, Verdict.BLOCK


def rules(policy="block", *, admin=False):
    return SafetyRules(policy=policy, threshold=0.5, may_be_unchecked=admin)


def done_with(*scores):
    [made] = make_done().images
    return make_done(images=tuple(type(made)(**{**vars(made), "nsfw": score}) for score in scores))


@pytest.mark.parametrize(
    ("policy", "score", "expected"),
    [
        ("block", 0.1, SHOW), ("block", 0.5, BLOCK), ("block", 1.0, BLOCK),
        ("spoiler", 0.1, SHOW), ("spoiler", 0.9, SPOILER),
        ("allow", 0.1, SHOW), ("allow", 0.9, SHOW),
    ],
)  # fmt: skip
def test_the_policy_decides_about_sexual_pictures(policy, score, expected):
    assert verdict(rules(policy), score) is expected


@given(
    policy=st.sampled_from(["block", "spoiler", "allow"]),
    score=st.one_of(st.none(), st.just(math.nan), st.floats(max_value=-1e-9), st.floats(min_value=1.001)),
)
def test_what_is_no_score_is_never_shown_to_strangers(policy, score):
    assert verdict(rules(policy), score) is BLOCK


@given(score=st.one_of(st.just(math.nan), st.just(math.inf), st.just(-1.0)), policy=st.sampled_from(["block", "allow"]))
def test_a_failed_check_also_blocks_admins(score, policy):
    assert verdict(rules(policy, admin=True), score) is BLOCK


@pytest.mark.parametrize(("policy", "expected"), [("block", SPOILER), ("spoiler", SPOILER), ("allow", SHOW)])
def test_an_admin_sees_unchecked_images(policy, expected):
    assert verdict(rules(policy, admin=True), None) is expected


@pytest.mark.parametrize("policy", ["block", "spoiler", "allow"])
def test_an_unchecked_image_is_hidden_where_the_rules_say_so_and_has_no_preview(policy):
    hiding = replace(rules(policy, admin=True), hides_unchecked=True)
    [made] = apply_rules(done_with(None), hiding).images

    assert (verdict(hiding, None), hiding.may_preview) == (SPOILER, False)
    assert (made.is_spoiler, made.is_adult, made.is_unchecked) == (True, True, True)


def test_a_result_is_marked_picture_by_picture():
    made = apply_rules(done_with(0.1, 0.9), rules("spoiler"))

    assert [(one.is_spoiler, one.is_adult) for one in made.images] == [(False, False), (True, True)]
    assert made.notes == ()


def test_an_unchecked_result_says_so():
    assert apply_rules(done_with(None), rules(admin=True)).notes == (UNCHECKED,)


@pytest.mark.parametrize(("score", "reason"), [(0.9, "nsfw"), (None, "unchecked"), (math.nan, "unchecked")])
def test_one_picture_that_may_not_be_shown_ends_the_job(score, reason):
    with pytest.raises(Blocked) as refused:
        apply_rules(done_with(0.1, score), rules())

    assert refused.value.reason == reason


def test_without_rules_nothing_is_checked():
    done = done_with(None)

    assert apply_rules(done, None) is done
    check_input_score(None, None)


@pytest.mark.parametrize(("score", "reason"), [(0.9, "picture"), (None, "unchecked")])
def test_a_picture_to_start_from_is_held_to_the_same_rules(score, reason):
    check_input_score(rules(), 0.1)

    with pytest.raises(Blocked) as refused:
        check_input_score(rules(), score)

    assert refused.value.reason == reason
