"""Best of n as an option: its values, rounds and price, and the model that judges."""

from dataclasses import replace

import pytest

from bot.commands import Edit, Imagine, Zoom
from bot.commands.best_of import (
    Round,
    count_judged,
    count_row_steps,
    expected_steps,
    find_judge,
    plan_rounds,
    share_steps,
)
from bot.commands.parts import parts_of
from bot.error_texts import explain
from bot.errors import InvalidOption, NoModel
from bot.jobs import BY_BOT, ImageRef
from bot.models import (
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelRegistry,
    ModelSpec,
)
from bot.queue.pricing import Rates, price
from tests.fakes import make_job, make_result

PAINTER = ModelSpec(
    name="painter", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo="p", steps=20, step_s=1.0, overhead_s=0.0
)
JUDGE = ModelSpec(name="judge", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo="j", step_s=0.01, overhead_s=0.02)
CHAT = ModelSpec(name="chat", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo="c", capabilities={"ranks": True})


def registry(*models):
    return ModelRegistry({model.name: model for model in models})


def fill(**values):
    return Imagine.from_options({"prompt": "a fox", **values}).fill_options(PAINTER, 7)


def cost_of(**values):
    command, options = Imagine.from_options({"prompt": "a fox", **values}), fill(**values)
    parts = parts_of(command, options, registry(PAINTER, JUDGE))
    return price(command, PAINTER, options, Rates(), parts)


def test_so_many_images_are_begun():
    assert (fill(best=4)["count"], fill(best=4)["best"]) == (4, 4)
    assert fill(best=8, count=8)["count"] == 8
    assert "best" not in fill()


@pytest.mark.parametrize("best", [1, 9, 0])
def test_there_are_two_to_eight(best):
    with pytest.raises(InvalidOption) as refused:
        fill(best=best)

    assert (refused.value.option, refused.value.problem) == ("best", "range")


def test_a_number_of_pictures_beside_it_is_refused_with_a_sentence():
    with pytest.raises(InvalidOption) as refused:
        fill(best=4, count=2)

    assert explain(refused.value) == "best already makes 4 pictures: leave count out."


def test_pictures_without_a_prompt_cannot_be_compared_with_it():
    zoom = Zoom.from_options({"best": 2}, (ImageRef("a"),))

    with pytest.raises(InvalidOption) as refused:
        zoom.fill_options(PAINTER, 7)

    assert explain(refused.value) == "best compares pictures with the prompt: write one, or leave best out."


def test_an_instruction_is_not_what_a_picture_shows():
    with pytest.raises(InvalidOption):
        Edit.from_options({"prompt": "make it red", "best": 2}, (ImageRef("a"),))


def test_the_last_seed_leaves_room_for_all():
    with pytest.raises(InvalidOption) as refused:
        fill(best=8, seed=4294967295)

    assert refused.value.allowed == "0 to 4294967288"


@pytest.mark.parametrize(
    ("best", "steps", "rounds"),
    [
        (4, 20, ()),
        (8, 20, (Round(6, 4), Round(12, 2))),
        (7, 20, (Round(6, 4), Round(12, 2))),
        (5, 20, (Round(6, 3), Round(12, 2))),
        (8, 4, (Round(1, 4), Round(2, 2))),
        (8, 3, (Round(1, 2),)),
        (8, 2, (Round(1, 2),)),
        (8, 1, ()),
    ],
)
def test_rows_are_halved_after_the_first_and_the_second_third(best, steps, rounds):
    assert plan_rounds(best, steps) == rounds


def test_steps_of_dropped_rows_count_for_those_that_are_finished():
    assert count_row_steps(8, 20) == 8 * 6 + 4 * 6 + 2 * 8
    assert share_steps({"best": 8, "count": 8}, 20) == (2, 44)
    assert share_steps({"count": 3}, 20) == (3, 20)
    assert count_judged({"best": 8, "count": 8}, 20) == [8, 4, 2]
    assert count_judged({"best": 3, "count": 3}, 20) == [3]
    assert expected_steps({"best": 8, "count": 8, "steps": 20, "hires": 2.0}, 40) == 88 + 2 * 20


def test_four_cost_four_pictures_and_eight_cost_what_is_expected_of_them():
    one = cost_of()

    assert cost_of(best=4) == pytest.approx(4 * one + 0.02 + 4 * 0.01)
    assert cost_of(best=8) == pytest.approx(4.4 * one + 3 * 0.02 + 14 * 0.01)
    assert cost_of(best=8) / one < 5


def test_hires_fix_is_paid_for_those_that_are_finished():
    options = fill(best=8, hires=2.0)
    steps, area, count = Imagine(values={}).work_units(options)

    assert (steps, count, area) == (44 + 20 * 4, 2, 512.0 * 512)


def test_a_job_can_be_repeated_with_its_own_options():
    options = fill(best=8)

    assert Imagine.from_options(options).fill_options(PAINTER, 0) == options


def test_without_a_judge_a_sentence_says_what_to_add():
    command, options = Imagine.from_options({"prompt": "a fox", "best": 4}), fill(best=4)

    with pytest.raises(NoModel) as refused:
        parts_of(command, options, registry(PAINTER))

    assert "leave best out, or the owner can add a model" in explain(refused.value)


DEMO_JUDGE = replace(JUDGE, name="demo-judge", demo=True)
DEMO_PAINTER = replace(PAINTER, name="demo-painter", demo=True)
PHOTO, OWN = ImageRef("a"), ImageRef("b", author=BY_BOT)


@pytest.mark.parametrize(
    ("models", "maker", "images", "judge"),
    [
        ((JUDGE,), PAINTER, (PHOTO,), JUDGE),
        ((DEMO_JUDGE,), PAINTER, (), None),
        ((DEMO_JUDGE,), DEMO_PAINTER, (), DEMO_JUDGE),
        ((DEMO_JUDGE,), DEMO_PAINTER, (PHOTO,), None),
        ((DEMO_JUDGE,), DEMO_PAINTER, (OWN,), DEMO_JUDGE),
        ((DEMO_JUDGE,), DEMO_PAINTER, (replace(PHOTO, role="control"),), DEMO_JUDGE),
        ((DEMO_JUDGE, CHAT), PAINTER, (), CHAT),
        ((JUDGE, CHAT), PAINTER, (), JUDGE),
        ((replace(CHAT, capabilities={}),), PAINTER, (), None),
    ],
)
def test_a_demo_judges_only_what_demos_draw_from_words(models, maker, images, judge):
    assert find_judge(registry(maker, *models), maker, images) == judge


def test_pictures_in_another_order_keep_their_prompts():
    from bot.usecases.follow_up_prompts import index_of_picture, prompt_of_picture

    first, second = (replace(make_result().media[0], seed=seed, number=n) for n, seed in ((1, 9), (2, 7)))
    options = {"prompt": "a", "prompts": ["a", "b", "c"], "seed": 7, "count": 3, "best": 3}
    job = make_job(options=options, result=make_result(media=(first, second), seed=9))

    assert [index_of_picture(job, number) for number in (1, 2)] == [2, 0]
    assert [prompt_of_picture(job, number) for number in (0, 1, 2)] == ["c", "c", "a"]
