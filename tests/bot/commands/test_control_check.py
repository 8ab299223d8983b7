"""Which model serves the controls of a request, what is refused before it is accepted, and what a control costs."""

import pytest

from bot.commands import Imagine
from bot.commands.control_check import CONTROL_COST, control_cost
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ModelRegistry
from bot.queue.pricing import Rates, price
from tests.fakes import make_model

PAINTS = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
PLAIN = make_model(name="plain", tasks=PAINTS)
DRAWN = make_model(name="drawn", tasks=PAINTS, controls={"canny": "org/canny", "depth": "org/depth"})
KLEIN = make_model(name="klein", tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), max_images=2)


def imagine(*kinds: str, weight: float = 1.0, start: float = 0.0, end: float = 1.0, **values) -> Imagine:
    images = [
        ImageRef(f"c{number}", "control", kind=kind, weight=weight, start=start, end=end, ready=True)
        for number, kind in enumerate(kinds)
    ]
    return Imagine.from_options({"prompt": "a fox", **values}, images)


def choose(command: Imagine, *models) -> str:
    return command.choose_model(ModelRegistry({model.name: model for model in models})).name


@pytest.mark.parametrize(
    ("kinds", "models", "chosen"),
    [
        (("canny",), (DRAWN, PLAIN), "drawn"),
        (("canny",), (PLAIN, DRAWN), "drawn"),  # the default has no such control
        (("canny", "depth"), (PLAIN, DRAWN), "drawn"),
        (("canny",), (KLEIN, DRAWN), "klein"),  # it takes the control as a reference
        ((), (PLAIN, DRAWN), "plain"),
    ],
)
def test_a_model_that_has_the_control_is_chosen(kinds, models, chosen):
    assert choose(imagine(*kinds), *models) == chosen


@pytest.mark.parametrize(
    ("command", "models", "problem"),
    [
        (imagine("canny", model="plain"), (PLAIN, DRAWN), "control_elsewhere"),
        (imagine("pose", model="drawn"), (PLAIN, DRAWN), "control_lacks"),
        (imagine("pose"), (PLAIN, DRAWN), "control_lacks"),
        (imagine("canny", "pose", "tile"), (KLEIN,), "too_many_images"),
    ],
)
def test_a_control_that_no_model_can_serve_is_refused_with_one_sentence(command, models, problem):
    with pytest.raises(InvalidOption) as refused:
        choose(command, *models)

    assert refused.value.problem == problem
    assert "{" not in explain(refused.value)


def test_the_model_of_a_reference_must_have_the_control_too():
    styled = make_model(name="styled", tasks=PAINTS, controls={"style": "org/ip"})
    images = (ImageRef("r", "reference", kind="style"), ImageRef("c", "control", kind="canny", ready=True))
    with pytest.raises(InvalidOption) as refused:
        choose(Imagine.from_options({"prompt": "a fox"}, images), styled, DRAWN)

    assert (refused.value.problem, refused.value.allowed) == ("control_elsewhere", "drawn")


def test_a_control_without_weight_needs_no_weights():
    assert choose(imagine("pose", weight=0.0), PLAIN) == "plain"


def test_a_control_costs_its_share_of_the_steps():
    assert control_cost(imagine().images) == control_cost(imagine("canny", weight=0.0).images) == 1
    assert control_cost(imagine("canny").images) == pytest.approx(1 + CONTROL_COST)
    assert control_cost(imagine("canny", "depth").images) == pytest.approx(1 + 2 * CONTROL_COST)
    assert control_cost(imagine("canny", start=0.25, end=0.75).images) == pytest.approx(1 + CONTROL_COST / 2)


def test_the_price_of_a_job_with_a_control_is_higher():
    plain, controlled = imagine(), imagine("canny")
    options = plain.fill_options(DRAWN, 1)
    rates = Rates(())

    assert price(controlled, DRAWN, options, rates) > price(plain, DRAWN, options, rates)
