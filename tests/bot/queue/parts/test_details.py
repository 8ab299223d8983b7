"""Details: each thing that words name is found in each picture and repainted; the picture keeps its metadata."""

import io
from dataclasses import replace

import numpy
import pytest
from PIL import Image

from bot.commands import Imagine
from bot.commands.parts import parts_of
from bot.error_texts import format_note
from bot.errors import InvalidOption, NoModel
from bot.jobs import Media
from bot.models import IMAGE_SEGMENTATION, IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ModelRegistry, ModelSpec
from bot.ports import RenderedImage, SafetyRules, Task, TaskImage, TaskOutput
from bot.queue.parts.details import DetailFinish
from bot.queue.parts.regions import RegionFinder
from inference.images.encode import save_image
from tests.in_process_tools import TOOLS

PAINTER = ModelSpec(name="painter", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo="painter", steps=10)
SEGMENTER = ModelSpec(name="segmenter", tasks=(IMAGE_SEGMENTATION,), repo="segmenter")
MODELS = ModelRegistry({"painter": PAINTER, "segmenter": SEGMENTER})
SIDE = 100
ORIGINAL = "a queen\nSteps: 10, Seed: 7"


def picture(colour, parameters=ORIGINAL, nsfw=None):
    saved = save_image(Image.new("RGB", (SIDE, SIDE), colour), "png", parameters, "{}", is_generated=True)
    media = Media(saved.data, "image/png")
    return RenderedImage(media=media, width=SIDE, height=SIDE, parameters=parameters, nsfw=nsfw)


def mask(*boxes):
    image, out = Image.new("L", (SIDE, SIDE)), io.BytesIO()
    for box in boxes:
        image.paste(255, box)
    image.save(out, "PNG")
    return RenderedImage(media=Media(out.getvalue(), "image/png"), width=SIDE, height=SIDE, parameters="")


class Pool:
    """Finds the things that it knows, and repaints a picture in the next colour."""

    def __init__(self, things, scores=()):
        self.things, self.scores = things, list(scores)
        self.found, self.painted = [], []

    async def __call__(self, task):
        if task.task == IMAGE_SEGMENTATION:
            self.found.append(task)
            boxes = self.things.get(task.options["region"], ())
            return TaskOutput(images=(mask(*boxes),), text=None if boxes else task.options["region"])
        self.painted.append(task)
        score = self.scores.pop(0) if self.scores else None
        return TaskOutput(images=(picture((0, 0, len(self.painted)), "the detail", score),), notes=("of the detail",))


def main_task(**options):
    given = {"prompt": "a queen", "seed": 7, "count": 1, "steps": 10, "width": 64, "height": 64, "model": "painter"}
    images = (TaskImage("control", picture("red").media), TaskImage("reference", picture("red").media))
    return Task(id="job", command="imagine", task=TEXT_TO_IMAGE, model=PAINTER, options=given | options, images=images)


@pytest.fixture
def finish():
    return DetailFinish(images=TOOLS, finder=RegionFinder(models=MODELS)).finish


def colour_of(image):
    return Image.open(io.BytesIO(image.media.data)).getpixel((0, 0))


def marked(task):
    (image,) = [image.media for image in task.images if image.role == "mask"]
    return Image.open(io.BytesIO(image.data)).getbbox()


async def test_each_thing_is_repainted_by_the_same_model_and_the_metadata_stay(finish):
    pool = Pool({"face": [(10, 10, 20, 20), (60, 10, 90, 40)], "hands": [(0, 80, 10, 99)]})
    task = main_task(detail="face, hands", hires=1.5, guidance_scale=3.0)

    output = await finish(task, TaskOutput(images=(picture("white"),), notes=("main",)), pool)

    assert [one.options["region"] for one in pool.found] == ["face", "hands"]
    assert [marked(one) for one in pool.painted] == [(60, 10, 90, 40), (10, 10, 20, 20), (0, 80, 10, 99)]
    for one in pool.painted:
        assert (one.task, one.model, one.id.startswith("job")) == (IMAGE_TO_IMAGE, PAINTER, True)
        assert [image.role for image in one.images] == ["init", "mask", "reference"]
        assert (one.options["strength"], one.options["inpaint_area"]) == (0.4, "masked")
        assert (one.options["guidance_scale"], one.options["count"]) == (3.0, 1)
        assert not {"hires", "detail"} & set(one.options)
    assert [one.options["prompt"] for one in pool.painted] == ["a queen, face"] * 2 + ["a queen, hands"]
    (made,) = output.images
    assert colour_of(made) == (0, 0, 3)
    assert made.parameters == ORIGINAL
    assert Image.open(io.BytesIO(made.media.data)).info["parameters"] == ORIGINAL
    assert output.notes == ("main",)


async def test_each_picture_has_its_own_seed_and_prompt(finish):
    pool = Pool({"face": [(10, 10, 20, 20)]})
    task = main_task(detail="face", count=2, prompts=["a queen", "a king's face"])

    images = (picture("white"), replace(picture("black"), index=1))
    output = await finish(task, TaskOutput(images=images), pool)

    assert [(one.options["seed"], one.options["prompt"]) for one in pool.painted] == [
        (7, "a queen, face"),
        (8, "a king's face"),
    ]
    assert len(output.images) == 2


async def test_what_is_in_no_picture_is_noted(finish):
    pool = Pool({"face": [(10, 10, 20, 20)]})
    main = TaskOutput(images=(picture("white"),))

    output = await finish(main_task(detail="face,wings, tail"), main, pool)

    assert [format_note(note) for note in output.notes] == ["Not in the picture, so it was left out: wings, tail"]
    assert len(pool.painted) == 1


async def test_a_picture_without_any_of_them_stays_as_it_is(finish):
    main = TaskOutput(images=(picture("white", nsfw=0.1),))

    output = await finish(main_task(detail="wings"), main, Pool({}))

    assert output.images == main.images


async def test_the_strictest_score_counts(finish):
    things = {"face": [(10, 10, 20, 20)]}
    for first, second in ((0.1, 0.7), (0.7, 0.1), (None, 0.7), (0.7, None)):
        main = TaskOutput(images=(picture("white", nsfw=first),))

        output = await finish(main_task(detail="face"), main, Pool(things, [second]))

        assert output.images[0].nsfw == 0.7


@pytest.mark.parametrize(("scores", "expected"), [((0.1, None), None), ((None, 0.1), None), ((None, 0.7), 0.7)])
async def test_a_picture_with_an_unchecked_detail_is_unchecked_unless_it_is_sexual(finish, scores, expected):
    rules = SafetyRules(policy="block", threshold=0.5, may_be_unchecked=True)
    task = replace(main_task(detail="face"), rules=rules)
    main = TaskOutput(images=(picture("white", nsfw=scores[0]),))

    output = await finish(task, main, Pool({"face": [(10, 10, 20, 20)]}, [scores[1]]))

    assert output.images[0].nsfw == expected


async def test_a_task_without_details_is_left_alone(finish):
    main = TaskOutput(images=(picture("white"),))

    assert await finish(main_task(), main, Pool({})) is main


def test_details_are_priced_by_word_and_picture():
    command = Imagine.from_options({"prompt": "a queen", "detail": "face, hands", "count": 3, "steps": 10})
    options = command.fill_options(PAINTER, 7)

    parts = parts_of(command, options, MODELS)

    assert [part.model.name for part in parts] == ["segmenter"] * 6 + ["painter"]
    assert parts[-1].units == (4, 512.0 * 512.0, 6)


def test_details_need_a_segmenter_and_a_model_that_starts_from_a_picture():
    command = Imagine.from_options({"prompt": "a queen", "detail": "face"})
    options = command.fill_options(PAINTER, 7)
    text_only = ModelSpec(name="painter", tasks=(TEXT_TO_IMAGE,), repo="painter")

    with pytest.raises(NoModel):
        parts_of(command, options, ModelRegistry({"painter": PAINTER}))
    with pytest.raises(InvalidOption) as refused:
        parts_of(command, options, ModelRegistry({"painter": text_only, "segmenter": SEGMENTER}))
    assert (refused.value.option, refused.value.problem) == ("detail", "model_lacks")
    with pytest.raises(InvalidOption) as empty:
        parts_of(command, {**options, "detail": " , "}, MODELS)
    assert empty.value.problem == "empty"


async def test_connected_parts_are_things_and_specks_are_not():
    boxes = [(0, 0, 30, 30), (50, 50, 70, 60), (70, 60, 80, 80), (90, 90, 91, 91)]
    tools = TOOLS

    made = await tools.run_tool("separate_things", [mask(*boxes).media], {"count": 4})
    few = await tools.run_tool("separate_things", [mask(*boxes).media], {"count": 1})
    none = await tools.run_tool("separate_things", [mask().media], {"count": 4})
    everything = await tools.run_tool("separate_things", [mask((0, 0, SIDE, SIDE)).media], {"count": 4})

    boxes_of = [Image.open(io.BytesIO(one.media.data)).getbbox() for one in made]
    assert boxes_of == [(0, 0, 30, 30), (50, 50, 80, 80)]
    assert (len(few), len(none), len(everything)) == (1, 0, 1)
    assert numpy.asarray(Image.open(io.BytesIO(everything[0].media.data))).min() == 255
