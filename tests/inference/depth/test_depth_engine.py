"""Depth maps are those of Transformers, near is white; images of one size share a pass."""

import numpy as np
import pytest
import torch
from PIL import Image

from bot.errors import EngineError, ModelUnavailable
from bot.jobs import Media
from bot.memory.placement import Residency
from bot.models import DEPTH_ESTIMATION
from bot.ports import TaskImage
from inference.depth.engine import DepthEngine, nearness_levels
from inference.engine.base import ImageReady, StepDone, TaskDone, build_engine
from inference.memory.offload import OffloadHook
from tests.inference.map_models import save_depth_anything, save_dpt
from tests.inference.support import make_model, make_task, png


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("depth-anything")
    save_depth_anything(folder)
    return folder


def make_picture(size=(60, 40), seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR)


def make_request(picture, id="job"):
    image = TaskImage("init", Media(png(picture), "image/png"))
    return make_task("", id=id, command="preview", task=DEPTH_ESTIMATION, options={}, images=(image,))


def load_engine(folder, **settings):
    engine = build_engine(make_model("depth", tasks=(DEPTH_ESTIMATION,), repo=str(folder), **settings))
    engine.load_model("cpu")
    return engine


def map_of(events, id="job"):
    (image,) = [event.image for event in events if isinstance(event, ImageReady) and event.task_id == id]
    pixels = np.frombuffer(image.pixels, np.uint8).reshape(image.height, image.width, 3)
    assert (pixels[..., :1] == pixels).all()
    assert not image.is_generated
    return pixels[..., 0].astype(int)


def make_map(engine, picture):
    engine.add_task(make_request(picture))
    return map_of(engine.step())


@torch.no_grad()
def reference_map(model, processor, picture):
    outputs = model(**processor(images=picture, return_tensors="pt"))
    sizes = [(picture.height, picture.width)]
    depth = processor.post_process_depth_estimation(outputs, target_sizes=sizes)[0]["predicted_depth"].numpy()
    return (depth - depth.min()) / (depth.max() - depth.min()) * 255


@pytest.mark.parametrize("save", [save_depth_anything, save_dpt])
def test_a_map_is_transformers_own_stretched_to_the_whole_range(tmp_path, save):
    model, processor = save(tmp_path)
    picture = make_picture()

    made = make_map(load_engine(tmp_path), picture)

    assert made.shape == (40, 60)
    assert (made.min(), made.max()) == (0, 255)
    assert np.abs(made - reference_map(model, processor, picture)).max() <= 1


@pytest.mark.parametrize(("dtype", "levels"), [("float16", 3), ("bfloat16", 24)])
def test_half_precision_gives_nearly_the_same_map(folder, dtype, levels):
    engine = load_engine(folder, dtype=dtype)

    made = make_map(engine, make_picture())

    assert engine.capabilities["dtype"] == dtype
    assert np.abs(made - make_map(load_engine(folder), make_picture())).max() <= levels


def test_images_of_one_size_share_a_pass_and_get_the_same_maps_as_alone(folder, monkeypatch):
    engine = load_engine(folder)
    pictures = {"a": make_picture(seed=1), "b": make_picture(seed=2), "wide": make_picture((100, 40))}
    pictures["c"] = make_picture()
    alone = {id: make_map(engine, picture) for id, picture in pictures.items()}
    sizes = []
    forward = engine._network.forward

    def count_forward(pixel_values):
        sizes.append(len(pixel_values))
        return forward(pixel_values=pixel_values)

    monkeypatch.setattr(engine._network, "forward", count_forward)
    engine.take_usage()
    for id, picture in pictures.items():
        engine.add_task(make_request(picture, id))
    engine.cancel_task("c")

    events = [*engine.step(), *engine.step()]

    assert sizes == [2, 1]
    assert [event.task_id for event in events if isinstance(event, TaskDone)] == ["a", "b", "wide"]
    assert [(event.step, event.steps) for event in events if isinstance(event, StepDone)] == [(1, 1)] * 3
    for id in ("a", "b", "wide"):
        assert np.abs(map_of(events, id) - alone[id]).max() <= 1
    assert set(engine.take_usage()) == set(pictures)
    (sample,) = engine.cost_samples(make_request(pictures["a"], "a"))
    assert (sample.what, sample.batch_size) == ("token", 1)
    assert engine.step() == []


def test_memory_is_reduced_step_by_step_and_freed_at_the_end(folder):
    engine = load_engine(folder)

    assert [engine.reduce_memory(), engine.reduce_memory()] == ["rows", None]
    for id in ("a", "b"):
        engine.add_task(make_request(make_picture(), id))
    assert {event.task_id for event in engine.step()} == {"a"}
    engine.unload_model()

    assert engine.free_slots == DepthEngine.max_tasks
    assert not hasattr(engine, "_network")


def test_parts_that_are_on_the_device_on_demand_give_the_same_map(folder):
    engine = load_engine(folder)
    expected = make_map(engine, make_picture())
    for name, part in engine._network.named_children():
        engine._offloader._place(name, part, Residency.ON_DEMAND)

    assert isinstance(engine._network.backbone._hf_hook, OffloadHook)
    assert (make_map(engine, make_picture()) == expected).all()


def test_near_is_white_also_where_a_model_measures_distances():
    distances = np.array([[1.0, 2.0, 4.0]], np.float32)

    assert (
        nearness_levels((1 / distances).astype(np.float32)).tolist()
        == nearness_levels(distances, is_metric=True).tolist()
        == [[255, 85, 0]]
    )
    assert nearness_levels(np.ones((2, 3), np.float32)).tolist() == [[0] * 3] * 2


def test_depths_that_are_no_numbers_are_an_error(folder):
    engine = load_engine(folder)
    next(engine._network.head.parameters()).data.fill_(float("nan"))
    engine.add_task(make_request(make_picture()))

    with pytest.raises(EngineError):
        engine.step()


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')

    with pytest.raises(ModelUnavailable, match="vit"):
        load_engine(tmp_path)
