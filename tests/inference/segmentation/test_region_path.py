"""The whole path of a region and of a cutout: from the request's words through the real engine to the result."""

import asyncio
import io
from dataclasses import replace

import numpy
import pytest
import torch
from PIL import Image

from benchmarks.region_masks import GROUND, MIN_OVERLAP, RegionTrial
from bot.errors import InvalidOption
from bot.jobs import Media
from bot.models import IMAGE_SEGMENTATION, IMAGE_TO_IMAGE, ModelRegistry
from bot.ports import RenderedImage, Task, TaskImage, TaskOutput
from bot.queue.parts.regions import RegionFinder, RegionFinish, RegionPreparation
from inference.engine.base import ImageReady, TaskDone, build_engine
from inference.images.encode import image_of
from inference.ipc.image_messages import EncodeRequest
from tests.images_in_process import InProcessImages
from tests.inference.segmentation.tiny_segmenters import save_clipseg
from tests.inference.support import make_model, make_task, png
from training.evaluate_segment import name_of

PICTURE = Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=numpy.uint8))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    torch.set_num_threads(1)
    folder = save_clipseg(tmp_path_factory.mktemp("models") / "clipseg")
    return make_model("clipseg", tasks=(IMAGE_SEGMENTATION,), repo=str(folder), dtype="float32")


@pytest.fixture(scope="module")
def run_part(segmenter):
    """Runs tasks on the engine, as a device does, and encodes their images."""
    engine = build_engine(segmenter)
    engine.load_model("cpu")

    async def run(task: Task) -> TaskOutput:
        engine.add_task(task)
        events = await asyncio.to_thread(engine.step)
        result = next(event.result for event in events if isinstance(event, TaskDone))
        images = tuple(encode(event.image) for event in events if isinstance(event, ImageReady))
        return TaskOutput(images=images, text=result.text, notes=result.notes)

    return run


def encode(raw) -> RenderedImage:
    request = EncodeRequest(pixels=raw.pixels, width=raw.width, height=raw.height, parameters="", easel="")
    return RenderedImage(
        media=Media(png(image_of(request)), "image/png"), width=raw.width, height=raw.height, parameters=""
    )


def make_request(command: str, task: str, model, **options) -> Task:
    picture = TaskImage("init", Media(png(PICTURE), "image/png"))
    return make_task("", command=command, task=task, model=model, options=options, images=(picture,))


async def test_the_words_of_a_request_become_its_mask(segmenter, run_part):
    models = ModelRegistry({"clipseg": segmenter})
    preparation = RegionPreparation(images=InProcessImages(), finder=RegionFinder(models=models))
    task = make_request("imagine", IMAGE_TO_IMAGE, make_model("painter"), region="a fox")

    prepared = await preparation.prepare(task, run_part)
    kept = await preparation.prepare(
        make_request("imagine", IMAGE_TO_IMAGE, task.model, region="a fox", keep=True), run_part
    )

    found = numpy.asarray(Image.open(io.BytesIO((await run_part(find(task, segmenter))).images[0].media.data)))[..., 0]
    mask, rest = (numpy.asarray(Image.open(io.BytesIO(one.images[-1].media.data))) for one in (prepared, kept))
    assert prepared.images[-1].role == "mask"
    assert mask.shape == (40, 60)
    assert 0.05 < (found >= 128).mean() < 0.95
    assert (mask[found >= 250] >= 200).all(), "what was found is repainted"
    assert (rest[found == 0] >= 128).mean() > 0.9


def find(task, segmenter) -> Task:
    return make_request("preview", IMAGE_SEGMENTATION, segmenter, region=task.options["region"])


@pytest.mark.parametrize("words", ["a fox", "a fox, red", ""])
async def test_a_cutout_is_the_picture_with_a_transparent_ground(segmenter, run_part, words):
    task = make_request("cutout", IMAGE_SEGMENTATION, segmenter, region=words)

    output = await RegionFinish().finish(task, await run_part(task), run_part)

    cutout = Image.open(io.BytesIO(output.images[0].media.data))
    alpha = numpy.asarray(cutout)[..., 3]
    assert (cutout.mode, cutout.size, output.text) == ("RGBA", (60, 40), None)
    opaque = alpha == 255
    assert opaque.any()
    assert (numpy.asarray(cutout)[opaque][:, :3] == numpy.asarray(PICTURE)[opaque]).all()


async def test_nothing_found_is_a_sentence(segmenter, run_part, monkeypatch):
    monkeypatch.setattr("inference.segmentation.engine.EMPTY_SHARE", 2.0)
    task = make_request("cutout", IMAGE_SEGMENTATION, segmenter, region="a fox, the cat")

    with pytest.raises(InvalidOption) as refused:
        await RegionFinish().finish(task, await run_part(task), run_part)

    assert refused.value.allowed == "a fox, the cat"


class TestConfidence:
    """A region counts as found if enough of the image reaches the model's `min_confidence`."""

    @pytest.mark.parametrize(("min_confidence", "missing"), [(0.5, None), (1.0, "a fox\nred")])
    def test_pixels_below_the_models_confidence_do_not_count(self, segmenter, min_confidence, missing):
        engine = build_engine(replace(segmenter, min_confidence=min_confidence))
        engine.load_model("cpu")
        engine.add_task(make_request("preview", IMAGE_SEGMENTATION, segmenter, region="a fox, red"))

        [done] = [event for event in engine.step() if isinstance(event, TaskDone)]

        assert done.result.text == missing


def test_the_shipped_model_finds_what_is_there_and_refuses_what_is_not():
    trial = RegionTrial(3)

    things = [(scene, f"the {name_of(scene.things[0])}") for scene in (*trial.pairs, *trial.unseen)]

    assert trial.overlap(things) >= MIN_OVERLAP
    assert trial.overlap([(scene, GROUND) for scene, _ in things]) >= MIN_OVERLAP
    assert trial.refused([(scene, "the wizard") for scene, _ in things]) >= 0.9
