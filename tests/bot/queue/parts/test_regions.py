"""Regions by word: the mask of a task is what the words name, grown, feathered, inverted, united with a drawn one."""

import io

import numpy
import pytest
from PIL import Image

from bot.commands import Cutout, Imagine
from bot.commands.parts import parts_of
from bot.error_texts import explain, format_note
from bot.errors import InvalidOption, NoModel
from bot.jobs import ImageRef, Media
from bot.models import IMAGE_SEGMENTATION, IMAGE_TO_IMAGE, ModelRegistry, ModelSpec
from bot.ports import RenderedImage, Task, TaskImage, TaskOutput
from bot.queue.parts.regions import RegionFinder, RegionFinish, RegionPreparation
from inference.images.region_masks import grow
from tests.images_in_process import InProcessImages

PAINTER = ModelSpec(name="painter", tasks=(IMAGE_TO_IMAGE,), repo="painter")
SEGMENTER = ModelSpec(name="segmenter", tasks=(IMAGE_SEGMENTATION,), repo="segmenter")
SIDE = 100


def make_media(image) -> Media:
    out = io.BytesIO()
    image.save(out, "PNG")
    return Media(out.getvalue(), "image/png")


def make_mask(*box) -> Media:
    image = Image.new("L", (SIDE, SIDE))
    if box:
        image.paste(255, box)
    return make_media(image)


PICTURE = make_media(Image.new("RGB", (SIDE, SIDE), "red"))


class Segmentation:
    """Answers tasks with one mask, and remembers their words."""

    def __init__(self, mask, text=None, notes=()):
        self.output = TaskOutput(
            images=(RenderedImage(media=mask, width=SIDE, height=SIDE, parameters=""),), text=text, notes=notes
        )
        self.tasks = []

    async def __call__(self, task):
        self.tasks.append(task)
        return self.output


@pytest.fixture
def preparation():
    models = ModelRegistry({"painter": PAINTER, "segmenter": SEGMENTER})
    return RegionPreparation(images=InProcessImages(), finder=RegionFinder(models=models))


def make_task(*images, task=IMAGE_TO_IMAGE, **options) -> Task:
    shown = (TaskImage("init", PICTURE), *images)
    return Task(id="job", command="imagine", task=task, model=PAINTER, options=options, images=shown)


def mask_in(task) -> numpy.ndarray:
    (mask,) = [image.media for image in task.images if image.role == "mask"]
    return numpy.asarray(Image.open(io.BytesIO(mask.data)).convert("L")).astype(int)


async def test_the_region_becomes_the_mask_grown_and_feathered(preparation):
    find = Segmentation(make_mask(40, 40, 60, 60))

    prepared = await preparation.prepare(make_task(region="the hat, the shoes"), find)

    mask = mask_in(prepared)
    assert mask[40:60, 40:60].min() > 240, "all of the region is repainted"
    assert mask[39, 50] > 128
    assert 0 < mask[37, 50] < 128
    assert mask[30, 50] == 0
    (task,) = find.tasks
    assert (task.id, task.task, task.options) == ("job.region", IMAGE_SEGMENTATION, {"region": "the hat, the shoes"})
    assert prepared.images[0].media == PICTURE


async def test_keep_repaints_all_but_the_region(preparation):
    prepared = await preparation.prepare(make_task(region="cat", keep=True), Segmentation(make_mask(0, 0, 50, SIDE)))

    mask = mask_in(prepared)
    assert mask[:, 50:].min() > 240
    assert mask[:, :45].max() == 0


async def test_a_drawn_mask_is_added_as_it_is(preparation):
    drawn = TaskImage("mask", make_mask(80, 80, 90, 90))
    find = Segmentation(make_mask(0, 0, 20, 20))

    both = mask_in(await preparation.prepare(make_task(drawn, region="cat"), find))
    kept = mask_in(await preparation.prepare(make_task(drawn, region="cat", keep=True), find))
    only_drawn = mask_in(await preparation.prepare(make_task(drawn, keep=True), find))

    assert both[80:90, 80:90].min() == 255
    assert both[10, 10] == 255
    assert both[79, 85] == both[50, 50] == 0
    assert kept[50, 50] == 255
    assert kept[10, 10] == kept[85, 85] == 0
    assert only_drawn[50, 50] == only_drawn[10, 10] == 255
    assert only_drawn[85, 85] == 0


async def test_the_same_region_of_the_same_picture_is_found_once(preparation):
    find = Segmentation(make_mask(0, 0, 20, 20))

    for words in ("the cat", "the  cat.", "the cat", "the dog"):
        await preparation.prepare(make_task(region=words, keep=words == "the cat"), find)

    assert [task.options["region"] for task in find.tasks] == ["the cat", "the dog"]


@pytest.mark.parametrize(
    ("words", "missing", "sentence"),
    [
        ("a hat", "a hat", "I can't see a hat in this picture."),
        ("a hat, the shoes", "a hat\nthe shoes", "I can't see a hat, the shoes in this picture."),
        ("{0}", "{0}", "I can't see {0} in this picture."),
    ],
)
async def test_what_is_not_there_ends_the_task_with_a_sentence(preparation, words, missing, sentence):
    with pytest.raises(InvalidOption) as refused:
        await preparation.prepare(make_task(region=words), Segmentation(make_mask(), missing))

    assert refused.value.problem == "region_not_found"
    assert explain(refused.value) == sentence


async def test_words_that_are_not_seen_are_left_out_with_a_note(preparation):
    found = Segmentation(make_mask(0, 0, 20, 20), "a hat")

    prepared = await preparation.prepare(make_task(region="a hat, the shoes"), found)

    assert [format_note(note) for note in prepared.notes] == ["Not in the picture, so it was left out: a hat"]


@pytest.mark.parametrize(
    "task",
    [
        make_task(prompt="a fox"),
        make_task(TaskImage("mask", make_mask(0, 0, 9, 9)), prompt="a fox"),
        make_task(task=IMAGE_SEGMENTATION, region="a fox"),
    ],
)
async def test_other_tasks_stay_as_they_are(preparation, task):
    assert await preparation.prepare(task, Segmentation(make_mask())) is task


async def test_a_cutout_of_what_is_not_there_is_not_shown():
    task = make_task(task=IMAGE_SEGMENTATION, region="a hat")

    with pytest.raises(InvalidOption, match="a hat"):
        await RegionFinish().finish(task, Segmentation(make_mask(), "a hat").output, Segmentation(make_mask()))
    with pytest.raises(InvalidOption, match="no_subject"):
        await RegionFinish().finish(
            make_task(task=IMAGE_SEGMENTATION, region=""), Segmentation(make_mask(), "").output, Segmentation(PICTURE)
        )
    shown = await RegionFinish().finish(task, Segmentation(make_mask(0, 0, 9, 9)).output, Segmentation(make_mask()))
    assert shown.text is None
    assert len(shown.images) == 1


def test_a_region_needs_a_model_that_finds_it_and_is_priced_as_one_pass():
    command = Imagine(values={"prompt": "a crown", "region": "the hat"}, images=(ImageRef("0" * 64),))
    models = ModelRegistry({"painter": PAINTER, "segmenter": SEGMENTER})

    (part,) = parts_of(command, {"region": "the hat"}, models)

    assert (part.model, part.units) == (SEGMENTER, (1, 0.0, 1))
    assert parts_of(command, {}, models) == []
    with pytest.raises(NoModel) as refused:
        parts_of(command, {"region": "the hat"}, ModelRegistry({"painter": PAINTER}))
    assert "easel models use" in explain(refused.value)


@pytest.mark.parametrize(
    ("values", "roles", "problem", "sentence"),
    [
        ({"region": "the hat"}, (), "needs_init", "region only works with an input picture"),
        ({"keep": True}, ("init",), "keep_what", "keep needs a region or a mask"),
        ({"region": " , ;"}, ("init",), "empty", "region is empty"),
        ({"region": "a,b,c,d,e,f,g,h,i"}, ("init",), "many_regions", "region names 9 things; at most 8"),
    ],
)
def test_a_request_that_cannot_work_is_refused_before_it_is_accepted(values, roles, problem, sentence):
    command = Imagine(values={"prompt": "a fox", **values}, images=tuple(ImageRef("0" * 64, role) for role in roles))

    with pytest.raises(InvalidOption) as refused:
        command.fill_options(PAINTER, 7)

    assert refused.value.problem == problem
    assert explain(refused.value).startswith(sentence)


def test_a_cutout_without_words_is_of_the_main_thing():
    image = (ImageRef("0" * 64),)

    assert Cutout.from_text("", image).fill_options(SEGMENTER, 7) == {"region": "", "model": "segmenter"}
    assert Cutout.from_text("the hat --model segmenter", image).values["region"] == "the hat"
    with pytest.raises(InvalidOption, match="empty"):
        Cutout.from_text(",", image).fill_options(SEGMENTER, 7)


@pytest.mark.parametrize("radius", [0, 1, 2, 5])
def test_growing_takes_the_maximum_of_square_windows(radius):
    mask = numpy.random.default_rng(radius).integers(0, 255, (12, 17), dtype=numpy.uint8)
    expected = [
        [mask[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1].max() for x in range(17)]
        for y in range(12)
    ]

    assert grow(mask, radius).tolist() == expected
