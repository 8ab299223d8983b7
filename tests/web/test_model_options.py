"""`GET /models` lists exactly the options of a model that a request may give: all others are refused at once."""

from dataclasses import replace

import pytest

from adapters.web.views import model_json
from bot.commands import Edit, Imagine
from bot.commands.edit import adapt_to_model
from bot.errors import InvalidOption, NoModel
from bot.jobs import ImageRef
from bot.models import IMAGE_TASKS, IMAGE_TEXT_TO_IMAGE, TEXT_TO_IMAGE, ModelRegistry
from composition.settings import shipped_models
from tests.fakes import make_model

PHOTO = (ImageRef("photo", "init"),)
GIVEN = {"guidance_scale": 7.5, "negative_prompt": "blurry", "strength": 0.5, "image_guidance_scale": 2.0}
PRESETS = shipped_models()
EDITOR = make_model(name="pix2pix", tasks=(IMAGE_TEXT_TO_IMAGE,))
SPECS = {
    **{name: replace(spec, enabled=True) for name, spec in PRESETS.items() if IMAGE_TASKS & set(spec.tasks)},
    "pix2pix": EDITOR,
    "pix2pix, loaded": EDITOR.with_capabilities({"options": ["prompt", "guidance_scale", "image_guidance_scale"]}),
    "guided editor, loaded": EDITOR.with_capabilities({"options": ["prompt", "guidance_scale", "negative_prompt"]}),
}


def listed(spec):
    return {option["name"]: option for option in model_json(spec, ModelRegistry({}), frozenset())["options"]}


def is_accepted(spec, option):
    needs_photo = option == "strength" or TEXT_TO_IMAGE not in spec.tasks
    kind = Edit if option == "image_guidance_scale" or IMAGE_TEXT_TO_IMAGE in spec.tasks[:1] else Imagine
    values = {"prompt": "a fox", option: GIVEN[option], "model": spec.name}
    try:
        command = kind.from_options(values, PHOTO if needs_photo or kind is Edit else ())
        model = command.choose_model(ModelRegistry({spec.name: spec}))
        adapt_to_model(command, model).fill_options(model, 7)
    except (InvalidOption, NoModel):
        return False
    return True


@pytest.mark.parametrize("option", GIVEN)
@pytest.mark.parametrize("name", SPECS)
def test_an_option_is_listed_if_and_only_if_it_is_accepted(name, option):
    assert (option in listed(SPECS[name])) == is_accepted(SPECS[name], option)


def test_a_model_that_only_edits_lists_its_ranges_too():
    options = listed(PRESETS["qwen-image-edit-2511"])

    assert (options["steps"]["default"], options["width"]["maximum"]) == (4, 1536)
