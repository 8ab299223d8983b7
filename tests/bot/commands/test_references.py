"""References and blends: which model serves them, what is refused in one sentence, and what they cost."""

from dataclasses import replace

import pytest

from bot import error_texts
from bot.commands import COMMANDS, Blend, Edit, Imagine
from bot.commands.edit import adapt_to_model
from bot.commands.references import ADAPTER_COST, NATIVE_COST, offers_reference, reference_cost
from bot.errors import InvalidOption, NoModel
from bot.jobs import ImageRef
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ModelRegistry
from bot.queue.pricing import Rates, price
from composition.settings import shipped_models
from tests.fakes import make_model

PAINTS = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
PLAIN = make_model(name="plain", tasks=PAINTS)
STYLED = make_model(name="styled", tasks=PAINTS, controls={"style": "org/ip-adapter"})
ADAPTED = make_model(name="adapted", tasks=PAINTS, controls={"style": "org/a", "subject": "org/b"})
KLEIN = make_model(name="klein", tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), max_images=4)
EDITOR = make_model(name="editor", tasks=(IMAGE_TEXT_TO_IMAGE,), max_images=1)
INIT, MASK = ImageRef("i", "init"), ImageRef("m", "mask")


def registry(*models) -> ModelRegistry:
    return ModelRegistry({model.name: model for model in models})


def refer(kind: str = "", weight: float = 1.0, name: str = "r") -> ImageRef:
    return ImageRef(name, "reference", kind=kind, weight=weight)


def imagine(*images: ImageRef, **values) -> Imagine:
    return Imagine.from_options({"prompt": "a fox", **values}, images)


def blend(count: int, **values) -> Blend:
    return Blend.from_options(values, [refer(name=str(number)) for number in range(count)])


def plan(command, *models):
    """The command as its model runs it, the model, and the filled options."""
    model = command.choose_model(registry(*models))
    adapted = adapt_to_model(command, model)
    return adapted, model, adapted.fill_options(model, 7)


def refusal(command, *models) -> str:
    with pytest.raises(InvalidOption) as refused:
        plan(command, *models)
    return error_texts.explain(refused.value)


@pytest.mark.parametrize(
    ("kind", "models", "chosen", "task"),
    [
        ("style", (PLAIN, STYLED, KLEIN), "klein", IMAGE_TEXT_TO_IMAGE),
        ("style", (STYLED, KLEIN), "styled", TEXT_TO_IMAGE),
        ("style", (PLAIN, EDITOR, STYLED), "styled", TEXT_TO_IMAGE),
        ("subject", (STYLED, ADAPTED), "adapted", TEXT_TO_IMAGE),
        ("subject", (STYLED, KLEIN), "klein", IMAGE_TEXT_TO_IMAGE),
        ("", (PLAIN, STYLED), "styled", TEXT_TO_IMAGE),
        ("", (KLEIN, ADAPTED), "klein", IMAGE_TEXT_TO_IMAGE),
    ],
)
def test_the_default_model_serves_a_reference_if_it_can_else_another(kind, models, chosen, task):
    command, model, options = plan(imagine(refer(kind)), *models)

    assert (model.name, command.task, command.name) == (chosen, task, "imagine")
    assert "strength" not in options
    assert [image.role for image in command.images] == ["reference"]


def test_a_model_that_takes_references_itself_edits_an_input_image_with_them():
    command, model, _ = plan(imagine(INIT, refer("style")), KLEIN)

    assert (type(command), model.name, command.task) == (Edit, "klein", IMAGE_TEXT_TO_IMAGE)
    assert [image.role for image in command.images] == ["init", "reference"]


@pytest.mark.parametrize("images", [(INIT, refer("style")), (INIT, MASK, refer("style"))])
def test_an_adapter_works_with_an_input_image_and_a_mask(images):
    command, model, options = plan(imagine(*images), KLEIN, STYLED)

    assert (model.name, command.task, "strength" in options) == ("styled", IMAGE_TO_IMAGE, True)
    assert command.images == images


def test_an_edit_refers_through_an_adapter_of_its_own_model():
    editor = replace(EDITOR, controls={"style": "org/a"})
    command, model, _ = plan(Edit.from_options({"prompt": "blue"}, (INIT, refer("style"))), editor)

    assert (model.name, command.task, len(command.images)) == ("editor", IMAGE_TEXT_TO_IMAGE, 2)


@pytest.mark.parametrize(
    ("command", "models", "sentence"),
    [
        (imagine(refer("style")), (PLAIN,), "No model here can take the style of a picture. The owner can add"),
        (imagine(refer("subject")), (STYLED,), "No model here can take the subject of a picture."),
        (imagine(refer()), (PLAIN, EDITOR), "No model here takes reference pictures."),
        (imagine(refer("style"), model="plain"), (PLAIN, STYLED), "The model “plain” cannot use a picture as style:"),
        (imagine(refer(), model="plain"), (PLAIN,), "The model “plain” cannot use a picture as reference:"),
        (imagine(refer("style"), model="pain"), (PLAIN,), "model cannot be “pain”. Did you mean plain?"),
        (imagine(refer("style", 0.5)), (KLEIN,), "The model “klein” does not support weight:"),
        (imagine(*[refer()] * 4), (replace(KLEIN, max_images=2),), "4 pictures are too many; the limit here is 2."),
        (blend(5), (replace(KLEIN, max_images=2),), "5 pictures are too many; the limit here is 2."),
        (blend(2), (PLAIN,), "No model here takes reference pictures."),
        (imagine(INIT, MASK, refer("style")), (KLEIN,), "No model here can take the style of a picture."),
    ],
)
def test_what_no_model_can_serve_is_refused_in_one_sentence(command, models, sentence):
    assert refusal(command, *models).startswith(sentence)


def test_the_sentence_names_what_the_owner_can_add():
    with pytest.raises(NoModel) as refused:
        imagine(refer("style")).choose_model(registry(PLAIN))

    sentence = error_texts.explain(refused.value)
    assert "`easel models use flux2-klein-4b`" in sentence
    assert "IP-Adapter" in sentence
    assert shipped_models()["flux2-klein-4b"].takes_references


# ---------------------------------------------------------------- blends


@pytest.mark.parametrize("count", [0, 1, 6])
def test_a_blend_takes_two_to_five_pictures(count):
    with pytest.raises(InvalidOption) as refused:
        blend(count)

    assert error_texts.explain(refused.value) == (
        "6 pictures are too many; the limit here is 5."
        if count == 6
        else "This needs 2 pictures or more: attach them to one message."
    )


@pytest.mark.parametrize(("models", "task"), [((KLEIN,), IMAGE_TEXT_TO_IMAGE), ((PLAIN, ADAPTED), TEXT_TO_IMAGE)])
def test_a_blend_refers_to_all_its_pictures_and_needs_no_prompt(models, task):
    command, _, options = plan(blend(3), *models)
    _, _, with_prompt = plan(blend(2, prompt="a castle"), *models)

    assert (command.name, command.task) == ("blend", task)
    assert [image.role for image in command.images] == ["reference"] * 3
    assert bool(options["prompt"]) == (task == IMAGE_TEXT_TO_IMAGE)  # such a model follows instructions
    assert with_prompt["prompt"] == "a castle"
    assert (options["width"], options["height"]) == (512, 512)


def test_a_blend_is_only_offered_where_a_model_can():
    assert [Blend.fits_model(model) for model in (PLAIN, EDITOR, STYLED, KLEIN)] == [False, False, True, True]
    assert COMMANDS["blend"] is Blend


# ---------------------------------------------------------------- offers and prices


@pytest.mark.parametrize(
    ("models", "kinds"),
    [((PLAIN, EDITOR), ()), ((PLAIN, STYLED), ("style",)), ((ADAPTED,), ("style", "subject")),
     ((PLAIN, KLEIN), ("style", "subject")), ((PLAIN, replace(STYLED, demo=True)), ()),
     ((ADAPTED.with_capabilities({"family": "sdxl"}),), ("style", "subject")),
     ((ADAPTED.with_capabilities({"family": "z-image"}),), ())],
)  # fmt: skip
def test_references_are_offered_where_a_model_that_is_used_unasked_can(models, kinds):
    assert tuple(kind for kind in ("style", "subject") if offers_reference(registry(*models), kind)) == kinds


def test_a_reference_lengthens_the_steps_of_its_own_job_only():
    assert reference_cost((INIT,), is_native=False) == 1
    assert reference_cost((refer("style"), refer("style")), is_native=False) == 1 + ADAPTER_COST
    assert reference_cost((refer("style"), refer("subject")), is_native=False) == 1 + 2 * ADAPTER_COST
    assert reference_cost((INIT, refer(), refer()), is_native=True) == 1 + 2 * NATIVE_COST


@pytest.mark.parametrize(("model", "factor"), [(ADAPTED, 1 + ADAPTER_COST), (KLEIN, 1 + NATIVE_COST)])
def test_a_blend_is_priced_by_its_references(model, factor):
    command, _, options = plan(blend(2), model)
    plain = imagine().fill_options(model, 7)
    rates = Rates()

    step_s = price(imagine(), model, plain, rates) - model.overhead_s
    assert price(command, model, options, rates) == pytest.approx(model.overhead_s + step_s * factor)
