"""`upscale` takes the best that is there, and what was asked for: an upscaling model, a refinement, a plain resize."""

from dataclasses import replace

import pytest

from bot.commands import Upscale
from bot.commands.upscale import explain_upscale, keeps_content, upscaler_for
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef, StoredImage
from bot.models import IMAGE_TO_IMAGE, IMAGE_UPSCALING, TEXT_TO_IMAGE, ModelRegistry
from bot.queue.pricing import Rates, price
from tests.fakes import make_model

PHOTO = (ImageRef("0" * 64),)
IMAGE_TASKS = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
REAL = make_model(name="esrgan", tasks=(IMAGE_UPSCALING,), step_s=2.0, width=1024, height=1024, overhead_s=0.5)
OTHER = make_model(name="anime-6b", tasks=(IMAGE_UPSCALING,))
STARTER = make_model(name="starter-upscale", tasks=(IMAGE_UPSCALING,), demo=True)
PAINTER = make_model(name="painter", tasks=IMAGE_TASKS, max_size=1024)
DEMO_PAINTER = make_model(name="starter-image", tasks=IMAGE_TASKS, max_size=1024, demo=True)
TEXT_ONLY = make_model(name="text-only", tasks=(TEXT_TO_IMAGE,))


def registry(*models):
    return ModelRegistry({model.name: model for model in models})


def plan(models, side=128, **options):
    """The chosen model, the task and the filled-in options."""
    picture = StoredImage(id="0" * 64, media_type="image/png", width=side, height=side)
    command = Upscale.from_options(options, PHOTO).with_images([picture])
    model = command.choose_model(models)
    command = command.for_model(model)
    return model.name, command.task, command.fill_options(model, 7)


@pytest.mark.parametrize(
    ("models", "chosen", "method"),
    [
        ((PAINTER, REAL), "esrgan", "upscaler"),
        ((DEMO_PAINTER, STARTER, REAL), "esrgan", "upscaler"),
        ((PAINTER, STARTER), "painter", "refine"),
        ((DEMO_PAINTER, STARTER), "starter-upscale", "upscaler"),
        ((TEXT_ONLY, STARTER), "starter-upscale", "upscaler"),
        ((DEMO_PAINTER,), "starter-image", "refine"),
        ((TEXT_ONLY,), "text-only", "resize"),
    ],
)
def test_the_best_that_is_there_is_used(models, chosen, method):
    name, task, options = plan(registry(*models))

    assert (name, options["method"]) == (chosen, method)
    assert task == (IMAGE_UPSCALING if method == "upscaler" else IMAGE_TO_IMAGE)
    assert (options["width"], options["height"], options["scale"], options["count"]) == (256, 256, 2, 1)
    assert ("steps" in options) is (method == "refine")


def test_where_a_real_model_cannot_refine_at_the_size_the_starter_enlarges():
    small = replace(PAINTER, capabilities={"refines_in_tiles": False})

    assert plan(registry(small, STARTER), side=900)[0] == "starter-upscale"
    assert plan(registry(PAINTER, STARTER), side=900)[0] == "painter"


@pytest.mark.parametrize(
    ("asked", "chosen", "method"),
    [
        ({"method": "refine"}, "painter", "refine"),
        ({"method": "resize"}, "painter", "resize"),
        ({"method": "upscaler"}, "esrgan", "upscaler"),
        ({"model": "painter"}, "painter", "refine"),
        ({"model": "anime-6b"}, "anime-6b", "upscaler"),
        ({"model": "painter", "method": "upscaler"}, "esrgan", "upscaler"),
        ({"model": "anime-6b", "method": "resize"}, "anime-6b", "resize"),
        ({"model": "starter-upscale"}, "starter-upscale", "upscaler"),
    ],
)
def test_what_is_asked_for_is_done(asked, chosen, method):
    name, _, options = plan(registry(PAINTER, REAL, OTHER, STARTER), **asked)

    assert (name, options["method"]) == (chosen, method)


def test_a_model_names_the_upscaler_that_suits_its_pictures():
    drawing = replace(PAINTER, name="drawing", upscaler="anime-6b")
    missing = replace(PAINTER, name="missing", upscaler="not-installed")
    models = registry(PAINTER, REAL, OTHER, drawing, missing)

    assert plan(models, model="drawing")[0] == "anime-6b"
    assert plan(models, model="drawing", method="refine")[0] == "drawing"
    assert upscaler_for(models, missing).name == "esrgan"


@pytest.mark.parametrize(
    ("models", "maker", "named"),
    [
        ((PAINTER, REAL), PAINTER, "esrgan"),
        ((PAINTER, STARTER), PAINTER, "painter"),
        ((DEMO_PAINTER, STARTER), DEMO_PAINTER, "starter-upscale"),
        ((PAINTER, STARTER), None, "starter-upscale"),
        ((PAINTER,), PAINTER, "painter"),
        ((TEXT_ONLY,), TEXT_ONLY, None),
        ((PAINTER, OTHER, REAL), OTHER, "anime-6b"),
    ],
)
def test_the_button_takes_the_best_for_the_pictures_model(models, maker, named):
    picture = StoredImage(id="0" * 64, media_type="image/png", width=128, height=128)
    chosen = Upscale(values={}).with_images([picture]).choose_for_picture(registry(*models), maker)

    assert (chosen and chosen.name) == named


def test_the_button_takes_the_upscaler_that_the_maker_names():
    drawing = replace(PAINTER, name="drawing", upscaler="starter-upscale")
    picture = StoredImage(id="0" * 64, media_type="image/png", width=128, height=128)

    chosen = Upscale(values={}).with_images([picture]).choose_for_picture(registry(drawing, STARTER), drawing)

    assert chosen.name == "starter-upscale"


def test_without_an_upscaling_model_asking_for_one_is_refused_in_a_sentence():
    with pytest.raises(InvalidOption) as refused:
        plan(registry(PAINTER), method="upscaler")

    assert explain(refused.value) == "No upscaling model is installed: leave method out; the owner can add one."


def test_a_picture_that_would_become_huge_is_refused_whatever_enlarges_it():
    with pytest.raises(InvalidOption) as refused:
        plan(registry(REAL), side=2100)

    assert refused.value.option == "scale"


def test_an_upscaler_cannot_refine():
    with pytest.raises(InvalidOption) as refused:
        plan(registry(REAL), model="esrgan", method="refine")

    assert refused.value.problem == "model_lacks"


@pytest.mark.parametrize(("scale", "side", "seconds"), [(2, 512, 2.5), (4, 512, 2.5), (2, 1024, 8.5)])
def test_the_price_depends_on_the_small_image(scale, side, seconds):
    command = Upscale.from_options({"scale": scale}, PHOTO)
    picture = StoredImage(id="0" * 64, media_type="image/png", width=side, height=side)
    command = command.with_images([picture]).for_model(REAL)

    assert price(command, REAL, command.fill_options(REAL, 7), Rates()) == seconds


@pytest.mark.parametrize(
    ("method", "note"), [("upscaler", "Enlarged by esrgan."), ("refine", "Refined by esrgan."), ("resize", "")]
)
def test_the_result_says_what_was_used(method, note):
    assert explain_upscale({"method": method}, REAL) == note


def test_an_enlarged_picture_shows_what_its_input_does():
    assert keeps_content("upscale", {"method": "upscaler", "prompt": "a fox"})
    assert not keeps_content("upscale", {"method": "refine", "prompt": "a fox"})
    assert not keeps_content("imagine", {"method": "upscaler"})


@pytest.mark.parametrize("models", [(STARTER,), (REAL, STARTER)])
def test_an_upscaler_that_is_named_but_not_installed_changes_nothing_for_a_model_that_is_asked_for(models):
    drawing = replace(PAINTER, name="drawing", upscaler="anime-6b")
    picture = StoredImage(id="0" * 64, media_type="image/png", width=128, height=128)
    chosen = Upscale(values={}).with_images([picture]).choose_for_picture(registry(drawing, *models), drawing)

    assert plan(registry(drawing, *models), model="drawing")[0] == "drawing"
    assert chosen.name == ("esrgan" if REAL in models else "drawing")
