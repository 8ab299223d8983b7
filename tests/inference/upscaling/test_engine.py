"""The upscaling engine: sizes, transparency, shared passes, less memory."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bot.errors import EngineError
from bot.jobs import Media
from bot.models import IMAGE_UPSCALING
from bot.ports import TaskImage
from inference.engine.base import ImageReady, StepDone, TaskDone, TaskFailed, build_engine
from inference.upscaling import engine as engine_module
from inference.upscaling.networks import build_network
from tests.inference.support import make_model, make_task, png
from tests.inference.upscaling.test_networks import layout_of
from tests.inference.upscaling.weights import compact_weights
from tests.inference.vision_reference import run_task

WEIGHTS = compact_weights(scale=4)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """It has small tiles."""
    monkeypatch.setattr(engine_module, "TILE_SIDE", 32)
    monkeypatch.setattr(engine_module, "SMALLEST_TILE_SIDE", 16)
    save_file(WEIGHTS, tmp_path / "tiny.safetensors")
    model = make_model("tiny", tasks=(IMAGE_UPSCALING,), repo=str(tmp_path / "tiny.safetensors"))
    engine = build_engine(model)
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


def noise(width, height, mode="RGB", seed=0):
    shape = (height, width, len(mode))
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8).squeeze(), mode)


def make_request(image, scale=4, id="job"):
    size = {"width": image.width * scale, "height": image.height * scale}
    options = {"prompt": "", "scale": scale, "method": "upscaler", **size}
    return make_task(
        "",
        id=id,
        command="upscale",
        task=IMAGE_UPSCALING,
        options=options,
        images=(TaskImage("init", Media(png(image), "image/png")),),
    )


def image_of(events):
    raw = next(event.image for event in events if isinstance(event, ImageReady))
    mode = "RGBA" if len(raw.pixels) == 4 * raw.width * raw.height else "RGB"
    return Image.frombytes(mode, (raw.width, raw.height), raw.pixels)


def enlarged(image):
    """By the network itself, undivided."""
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255
    large = build_network(layout_of(WEIGHTS), WEIGHTS)(pixels)[0].clamp(0, 1)
    return Image.fromarray(large.mul(255).round().byte().permute(1, 2, 0).numpy())


def difference(one, other):
    return np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max()


def test_an_image_is_enlarged_in_tiles_as_if_it_were_undivided(engine):
    image = noise(50, 40)

    events = run_task(engine, make_request(image))

    steps = [(event.step, event.steps) for event in events if isinstance(event, StepDone)]
    assert steps[-1] == (4, 4)
    assert image_of(events).size == (200, 160)
    assert difference(image_of(events), enlarged(image)) <= 1
    raw = next(event.image for event in events if isinstance(event, ImageReady))
    assert not raw.is_generated, "it keeps the metadata of its input"
    assert raw.postprocess == "Postprocess upscale by: 4, Postprocess upscaler: tiny"


@pytest.mark.parametrize("scale", [2, 3])
def test_another_scale_is_resized_from_the_models(engine, scale):
    image = noise(20, 12)

    result = image_of(run_task(engine, make_request(image, scale)))

    assert result.size == (20 * scale, 12 * scale)
    assert difference(result, enlarged(image).resize(result.size, Image.Resampling.LANCZOS)) <= 1


def test_transparency_is_enlarged_by_itself(engine):
    image = noise(20, 12, "RGBA")

    result = image_of(run_task(engine, make_request(image)))

    assert result.mode == "RGBA"
    assert difference(result.convert("RGB"), enlarged(image.convert("RGB"))) <= 1
    alpha = image.getchannel("A")
    expected = enlarged(Image.merge("RGB", (alpha, alpha, alpha))).getchannel("G")
    assert difference(result.getchannel("A"), expected) <= 1


def test_an_even_transparency_takes_no_further_tiles(engine):
    image = noise(20, 12)
    image.putalpha(128)

    events = run_task(engine, make_request(image))

    assert [event.steps for event in events if isinstance(event, StepDone)] == [1]
    assert image_of(events).getchannel("A").getextrema() == (128, 128)


def test_tiles_of_several_people_share_a_pass(engine):
    images = [noise(20, 12, seed=seed) for seed in range(3)]
    for number, image in enumerate(images):
        engine.add_task(make_request(image, id=str(number)))

    events = engine.step()

    assert [event.task_id for event in events if isinstance(event, TaskDone)] == ["0", "1", "2"]
    results = [image_of([event]) for event in events if isinstance(event, ImageReady)]
    assert all(difference(one, enlarged(image)) <= 1 for one, image in zip(results, images, strict=True))
    assert sorted(engine.take_usage()) == ["0", "1", "2"]


def test_a_large_image_does_not_hold_up_a_small_one(engine):
    engine.add_task(make_request(noise(200, 200), id="large"))
    engine.add_task(make_request(noise(32, 32), id="small"))

    events = engine.step()

    assert "small" in [event.task_id for event in events if isinstance(event, TaskDone)]


def test_images_of_other_sizes_wait_for_a_pass_of_their_own(engine):
    engine.add_task(make_request(noise(20, 12), id="a"))
    engine.add_task(make_request(noise(12, 20), id="b"))

    assert {event.task_id for event in engine.step()} == {"a"}
    assert {event.task_id for event in engine.step()} == {"b"}
    assert engine.step() == []


def test_a_cancelled_image_has_no_further_events(engine):
    engine.add_task(make_request(noise(200, 200)))
    engine.step()

    engine.cancel_task("job")

    assert engine.step() == []
    assert engine.free_slots == engine_module.MAX_TASKS


def test_less_memory_means_one_tile_at_a_time_then_smaller_tiles(engine):
    image = noise(50, 40)

    levels = [engine.reduce_memory() for _ in range(3)]

    assert levels == ["rows", "tiled", None]
    assert difference(image_of(run_task(engine, make_request(image))), enlarged(image)) <= 1


def test_costs_do_not_depend_on_the_scale_that_is_asked_for(engine):
    task = make_request(noise(20, 12), scale=4)
    run_task(engine, task)
    seconds = engine.take_usage()["job"]

    [sample] = engine.cost_samples(task)

    assert (sample.what, sample.batch_size) == ("step", 1)
    assert 0 < sample.seconds <= 4 * seconds
    assert engine.cost_samples(task) == []


def test_a_result_that_is_not_finite_fails_that_task(engine, monkeypatch):
    monkeypatch.setattr(engine._upscaler.network.body[-1], "bias", torch.nn.Parameter(torch.full((48,), float("nan"))))
    engine.add_task(make_request(noise(20, 12)))

    [event] = engine.step()

    assert isinstance(event, TaskFailed)
    assert engine.step() == []


def test_a_task_without_an_image_is_refused(engine):
    with pytest.raises(EngineError):
        engine.add_task(make_task("", command="upscale", task=IMAGE_UPSCALING))
