"""Maps of control images: which are made, by what, at which size, once."""

from dataclasses import replace

import pytest
from PIL import Image

from bot.commands import Imagine
from bot.commands.control_maps import check_map_shapes
from bot.commands.parts import parts_of
from bot.error_texts import NO_PERSON, explain
from bot.errors import Blocked, InvalidOption, NoModel
from bot.jobs import ImageRef, Media, StoredImage
from bot.models import DEPTH_ESTIMATION, KEYPOINT_DETECTION, TEXT_TO_IMAGE, ModelRegistry
from bot.ports import RenderedImage, SafetyRules, Task, TaskImage, TaskOutput
from bot.queue.parts.maps import MapCache, MapPreparation
from tests.fakes import make_model
from tests.in_process_tools import InProcessTools
from tests.inference.support import png

PAINTER = make_model(tasks=(TEXT_TO_IMAGE,))
DEPTH = make_model(name="depth", tasks=(DEPTH_ESTIMATION,), revision="r1")
POSE = make_model(name="pose", tasks=(KEYPOINT_DETECTION,))
MADE = Media(b"a depth map", "image/png")


def make_photo(color="red"):
    photo = Image.new("RGB", (60, 40), "white")
    photo.paste(color, (20, 10, 40, 30))
    return Media(png(photo), "image/png")


def make_task(*images, **options):
    sizes = {"width": 48, "height": 32, **options}
    return Task(id="job", command="imagine", task="text-to-image", model=PAINTER, options=sizes, images=images,
                fairness_key="ann", is_exclusive=True)  # fmt: skip


def control(kind, media=None, **said):
    return TaskImage("control", media or make_photo(), kind=kind, **said)


class Parts:
    """Runs the parts of a job: answers with one map, and a note if there is one."""

    def __init__(self, notes=()):
        self.tasks, self.notes = [], notes

    async def __call__(self, task):
        self.tasks.append(task)
        image = RenderedImage(media=MADE, width=48, height=32, parameters="")
        return TaskOutput(images=(image,), notes=self.notes, seconds=0.5)


class CountedTools(InProcessTools):
    def __init__(self):
        self.calls = []

    async def run_tool(self, tool, images, values=None, **metadata):
        self.calls.append((tool, dict(values), metadata.get("owner")))
        return await super().run_tool(tool, images, values, **metadata)


@pytest.fixture
def tools():
    return CountedTools()


@pytest.fixture
def preparation(tools):
    models = {model.name: model for model in (PAINTER, DEPTH, POSE)}
    return MapPreparation(models=ModelRegistry(models), images=tools)


@pytest.mark.parametrize("kind", ["canny", "lineart", "scribble", "tile"])
async def test_a_picture_becomes_a_map_of_the_size_asked_for(preparation, tools, kind):
    init, said = TaskImage("init", make_photo()), {"weight": 0.5, "start": 0.1, "end": 0.7}
    prepared = await preparation.prepare(make_task(init, control(kind, **said)), Parts())

    assert prepared.images[0] is init
    made = prepared.images[1]
    assert (made.role, made.kind, made.weight, made.start, made.end) == ("control", kind, 0.5, 0.1, 0.7)
    assert made.is_ready
    assert tools.calls == [(kind, {"width": 48, "height": 32}, "ann")]


async def test_maps_masks_and_references_stay_as_they_are(preparation, tools):
    task = make_task(control("canny", is_ready=True), TaskImage("reference", make_photo(), kind="style"))

    assert await preparation.prepare(task, Parts()) is task
    assert tools.calls == []


@pytest.mark.parametrize(("kind", "model"), [("depth", DEPTH), ("pose", POSE)])
async def test_a_model_makes_the_map_of_the_fitted_picture(preparation, tools, kind, model):
    parts = Parts()
    prepared = await preparation.prepare(make_task(control(kind)), parts)
    (part,) = parts.tasks

    assert (part.id, part.model, part.task) == ("job.map", model, model.tasks[0])
    assert (part.fairness_key, part.is_exclusive, part.rules) == ("ann", True, None)
    assert tools.calls == [("fit_control", {"width": 48, "height": 32}, "ann")]
    assert prepared.images[0].media is MADE
    assert prepared.images[0].is_ready


@pytest.mark.parametrize(("score", "refusal"), [(0.9, "picture"), (None, "unchecked"), (0.1, "")])
async def test_a_picture_is_checked_before_only_its_map_is_left(preparation, tools, score, refusal):
    checks = []

    async def score_pictures(task):
        checks.append(task)
        return TaskOutput(scores=(score,) * len(task.images))

    rules = SafetyRules(policy="block", threshold=0.5)
    task = replace(
        make_task(TaskImage("init", make_photo()), control("canny"), control("tile", is_ready=True)), rules=rules
    )
    if refusal:
        with pytest.raises(Blocked) as blocked:
            await preparation.prepare(task, score_pictures)
        assert (blocked.value.reason, tools.calls) == (refusal, [])
    else:
        assert (await preparation.prepare(task, score_pictures)).images[1].is_ready

    [check] = checks
    assert check.is_safety_check
    assert check.images == task.images[1:2]


async def test_a_map_is_made_once_for_a_picture_a_kind_and_a_size(preparation, tools):
    parts = Parts()
    both = make_task(control("canny"), control("depth"))
    first = await preparation.prepare(both, parts)
    again = await preparation.prepare(both, parts)
    await preparation.prepare(make_task(control("canny", make_photo("blue"))), parts)
    await preparation.prepare(make_task(control("canny"), width=64), parts)

    assert [image.media for image in again.images] == [image.media for image in first.images]
    assert len(parts.tasks) == 1
    assert [tool for tool, *_ in tools.calls] == ["canny", "fit_control", "canny", "canny"]


def test_the_cache_drops_the_map_that_was_unused_for_the_longest_time():
    cache = MapCache(max_bytes=20)
    for name in "ab":
        cache.put((name,), Media(name.encode() * 10, "image/png"))
    cache.get(("a",))
    cache.put(("c",), Media(b"c" * 10, "image/png"))

    assert [cache.get((name,)) is not None for name in "abc"] == [True, False, True]


async def test_a_pose_control_without_a_person_says_so(preparation):
    with pytest.raises(InvalidOption) as refused:
        await preparation.prepare(make_task(control("pose")), Parts(notes=(NO_PERSON,)))

    assert explain(refused.value) == "I can't see a person in the picture for the pose control."


# ---------------------------------------------------------------- before acceptance

PHOTO = ImageRef("0" * 64, "control", kind="depth")


def test_each_map_by_a_model_is_a_part_of_the_price():
    command = Imagine(values={"prompt": "a fox"}, images=(PHOTO, ImageRef("1" * 64, "control", kind="canny")))
    models = ModelRegistry({model.name: model for model in (PAINTER, DEPTH)})
    (part,) = parts_of(command, {}, models)

    assert (part.model, part.units) == (DEPTH, (1, 0.0, 1))


@pytest.mark.parametrize(("kind", "model"), [("depth", "depth-anything"), ("pose", "vitpose")])
def test_without_a_model_the_sentence_names_what_to_add_and_a_ready_map(kind, model):
    models = ModelRegistry({PAINTER.name: PAINTER})
    command = Imagine(values={"prompt": "a fox"}, images=(ImageRef("0" * 64, "control", kind=kind),))
    ready = Imagine(values={"prompt": "a fox"}, images=(ImageRef("0" * 64, "control", kind=kind, ready=True),))

    with pytest.raises(NoModel) as refused:
        parts_of(command, {}, models)
    assert f"`easel models use {model}`" in explain(refused.value)
    assert f"a ready {kind} map" in explain(refused.value)
    assert parts_of(ready, {}, models) == []


@pytest.mark.parametrize(
    ("size", "asked", "is_refused"),
    [
        ((600, 400), (768, 512), False),
        ((610, 400), (768, 512), False),
        ((640, 400), (768, 512), True),
        ((400, 600), (768, 512), True),
        ((1370, 1000), (608, 440), False),  # the model's multiples round this shape to that size
    ],
)
def test_a_ready_map_of_another_shape_is_refused(size, asked, is_refused):
    picture = StoredImage(id="0" * 64, media_type="image/png", width=size[0], height=size[1])
    options = {"width": asked[0], "height": asked[1]}
    maps = [ImageRef("0" * 64, "control", kind="canny", ready=True)]
    others = [ImageRef("0" * 64, "control", kind="canny"), ImageRef("0" * 64)]

    check_map_shapes(others, [picture], PAINTER, options)
    if not is_refused:
        check_map_shapes(maps, [picture], PAINTER, options)
        return
    with pytest.raises(InvalidOption) as refused:
        check_map_shapes(maps, [picture], PAINTER, options)
    sentence = explain(refused.value)
    assert f"{size[0]}x{size[1]}" in sentence
    assert f"but the picture is to be {asked[0]}x{asked[1]}: leave the size out" in sentence


def test_a_cleared_cache_has_no_map():
    cache = MapCache()
    cache.put(("a",), Media(b"a", "image/png"))

    cache.clear()

    assert cache.get(("a",)) is None
