"""Text-to-mask models answer as Transformers' own calls do, in every number format, and share passes."""

import numpy
import pytest
import torch
from accelerate.hooks import add_hook_to_module
from PIL import Image
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPSegForImageSegmentation,
    GroundingDinoForObjectDetection,
    Sam2Model,
    Sam3LiteTextModel,
)

from bot.errors import ModelUnavailable
from bot.jobs import Media
from bot.models import IMAGE_SEGMENTATION
from bot.ports import TaskImage
from inference.engine.base import ImageReady, TaskDone, build_engine
from inference.memory.offload import OffloadHook
from inference.segmentation import grounding_dino, sam3_lite_text
from inference.segmentation.placement import on_device
from inference.segmentation.sam_image import SamImageProcessor
from tests.inference.segmentation.tiny_segmenters import (
    save_clipseg,
    save_grounding_dino,
    save_sam2,
    save_sam3_lite_text,
)
from tests.inference.support import make_model, make_task, png

TASKS = (IMAGE_SEGMENTATION,)
IMAGE = Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=numpy.uint8))
OTHER_IMAGE = Image.fromarray(numpy.random.default_rng(1).integers(0, 255, (48, 32, 3), dtype=numpy.uint8))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("segmenters")
    return {
        "clipseg": save_clipseg(root / "clipseg"),
        "grounding-dino": save_grounding_dino(root / "grounding-dino"),
        "sam2": save_sam2(root / "sam2"),
        "sam3": save_sam3_lite_text(root / "sam3"),
    }


@pytest.fixture(scope="module")
def loaded():
    """The engines that tests have in common."""
    return {}


@pytest.fixture
def load(folders, loaded):
    def load_engine(name, *, is_shared=True, **settings):
        key = (name, *settings.items())
        if is_shared and key in loaded:
            return loaded[key]
        detector = str(folders["grounding-dino"]) if name == "sam2" else ""
        model = make_model(name, tasks=TASKS, repo=str(folders[name]), **({"detector": detector} | settings))
        engine = build_engine(model)
        engine.load_model("cpu")
        return loaded.setdefault(key, engine) if is_shared else engine

    return load_engine


def make_request(words, image=IMAGE, **overrides):
    media = Media(png(image), "image/png")
    fields = {"command": "preview", "task": IMAGE_SEGMENTATION, "images": (TaskImage("init", media),)}
    return make_task("", options={"region": words}, **(fields | overrides))


def run(engine, *tasks):
    """The mask of each task, (height, width), and its result, by its id; all in one step."""
    for task in tasks:
        engine.add_task(task)
    events = engine.step()
    images = {event.task_id: event.image for event in events if isinstance(event, ImageReady)}
    results = {event.task_id: event.result for event in events if isinstance(event, TaskDone)}
    return {
        name: (numpy.frombuffer(one.pixels, numpy.uint8).reshape(one.height, one.width, 3)[..., 0], results[name])
        for name, one in images.items()
    }


@torch.inference_mode()
def find(engine, phrases, image=IMAGE):
    segmenter = engine._segmenter
    return segmenter.find_masks([segmenter.prepare_image(Media(png(image), "image/png"), image)], [phrases])[0]


@torch.inference_mode()
def test_clipseg_gives_the_masks_of_its_own_forward_pass(load, folders):
    engine, phrases = load("clipseg", dtype="float32"), ["a fox", "the red cat"]
    stock = CLIPSegForImageSegmentation.from_pretrained(folders["clipseg"])
    processor = AutoProcessor.from_pretrained(folders["clipseg"], backend="pil")
    inputs = processor(text=phrases, images=[IMAGE, IMAGE], padding=True, return_tensors="pt")

    expected = stock(**inputs).logits.sigmoid()

    torch.testing.assert_close(find(engine, phrases), expected)
    torch.testing.assert_close(find(engine, phrases[:1])[0], expected[0])


@torch.inference_mode()
def test_boxes_are_those_of_the_stock_detector_with_its_own_text_format(load, folders, monkeypatch):
    monkeypatch.setattr(grounding_dino, "BOX_THRESHOLD", -1.0)
    detector = load("grounding-dino", dtype="float32")._segmenter._detector
    stock = GroundingDinoForObjectDetection.from_pretrained(folders["grounding-dino"])
    processor = AutoProcessor.from_pretrained(folders["grounding-dino"], backend="pil")
    inputs = processor(images=IMAGE, text=[["A fox", "the hat"]], return_tensors="pt")

    ids, spans = detector._tokenize(["A fox", "the hat"])
    boxes = detector.find_boxes(detector.prepare_image(IMAGE), ["A fox", "the hat"])
    outputs = stock(**inputs)
    expected = processor.post_process_grounded_object_detection(
        outputs, threshold=-1, text_threshold=2, target_sizes=[(1, 1)]
    )[0]["boxes"].clamp(0, 1)

    assert ids.tolist() == inputs["input_ids"].tolist()
    assert [ids[0, start:end].tolist() for start, end in spans] == [[5, 7], [6, 8]]
    torch.testing.assert_close(boxes[0], expected)


@torch.inference_mode()
def test_sam_2_gets_the_boxes_in_its_own_pixels(load, folders):
    segmenter = load("sam2", dtype="float32")._segmenter
    stock, boxes = Sam2Model.from_pretrained(folders["sam2"]), torch.tensor([[0.1, 0.2, 0.7, 0.9], [0.0, 0.0, 0.5, 1]])
    pixels = segmenter._processor(images=IMAGE)["pixel_values"]
    (features,) = segmenter._encoder.encode([segmenter._encoder.preprocess(Media(png(IMAGE), "image/png"))])

    masks = segmenter._fill_boxes(features, [boxes, torch.zeros(0, 4)])
    expected = stock(pixel_values=pixels, input_boxes=64 * boxes[None], multimask_output=False).pred_masks

    torch.testing.assert_close(masks[0], expected[0, :, 0].sigmoid().amax(dim=0))
    assert masks.shape == (2, 16, 16)
    assert masks[1].sum() == 0


@torch.inference_mode()
def test_sam_3_gives_the_union_of_its_instances(load, folders, monkeypatch):
    monkeypatch.setattr(sam3_lite_text, "INSTANCE_THRESHOLD", 0.0)
    stock = Sam3LiteTextModel.from_pretrained(folders["sam3"])
    tokenizer = AutoTokenizer.from_pretrained(folders["sam3"])
    words = tokenizer("a fox", padding="max_length", max_length=16, return_tensors="pt")
    pixels = SamImageProcessor(56, (0.5,) * 3, (0.5,) * 3)(images=IMAGE)["pixel_values"]

    masks = find(load("sam3", dtype="float32"), ["a fox", "a cat"])
    outputs = stock(pixel_values=pixels, input_ids=words["input_ids"], attention_mask=words["attention_mask"])

    torch.testing.assert_close(masks[0], outputs.pred_masks.sigmoid().amax(dim=1)[0], rtol=1e-4, atol=1e-5)


def test_images_are_stretched_and_normalised_as_sams_processor_does():
    plain = Image.new("RGB", (30, 20), (255, 0, 51))

    pixels = SamImageProcessor(8)(images=plain)["pixel_values"]

    assert pixels.shape == (1, 3, 8, 8)
    expected = torch.tensor([(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225])
    torch.testing.assert_close(pixels[0, :, 3, 3], expected)


def test_the_folders_own_mean_and_deviation_are_used(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 1]}')

    processor = SamImageProcessor.from_folder(tmp_path, 4, (0.0,) * 3, (1.0,) * 3)

    assert processor(images=Image.new("RGB", (2, 2), "white"))["pixel_values"][0, :, 0, 0].tolist() == [2, 1, 0.5]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("clipseg", "float16"), ("clipseg", "bfloat16"), ("sam2", "float16"), ("sam3", "bfloat16")],
)
def test_half_precision_gives_masks_of_the_images_size(load, name, dtype):
    engine = load(name, dtype=dtype)

    mask, _ = run(engine, make_request("a fox, the hat"))["job"]

    assert engine.capabilities["dtype"] == dtype
    assert mask.shape == (40, 60)


def test_tasks_that_share_a_pass_get_the_masks_that_they_get_alone(load, monkeypatch):
    engine = load("clipseg", dtype="float32")
    tasks = [
        make_request("a fox", id="one"),
        make_request("a fox, the background, red", id="two"),
        make_request("cat", OTHER_IMAGE, id="three"),
    ]
    alone = {task.id: run(engine, task)[task.id][0] for task in tasks}
    engine._segmenter.clear_cache()
    engine.take_usage()
    passes = []
    encode = engine._segmenter._encoder._encode

    def encode_counted(pixels):
        passes.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(engine._segmenter._encoder, "_encode", encode_counted)

    together = run(engine, *tasks)
    again = run(engine, make_request("a fox", id="one"))

    assert passes == [2], "each image is encoded once, all in one pass, and kept"
    for name, (mask, _) in (together | again).items():
        numpy.testing.assert_allclose(mask.astype(int), alone[name].astype(int), atol=1)
    assert set(engine.take_usage()) == {"one", "two", "three"}
    assert [one.what for one in engine.cost_samples(tasks[1])] == ["token"]


def test_a_cancelled_task_has_no_answer_and_less_memory_means_one_at_a_time(load):
    engine = load("clipseg", is_shared=False, dtype="float32")
    for name in ("one", "two", "three"):
        engine.add_task(make_request("a fox", id=name))
    engine.cancel_task("one")

    assert engine.reduce_memory() == "rows"
    assert {event.task_id for event in engine.step()} == {"two"}
    engine.unload_model()
    assert engine.free_slots == 16


def test_sam_2_without_a_detector_says_what_is_missing(load):
    with pytest.raises(ModelUnavailable, match="detector"):
        load("sam2", detector="")


def test_a_part_of_a_component_that_is_offloaded_is_called_on_the_device(load):
    model = load("clipseg", is_shared=False, dtype="float32")._segmenter._model
    moves = []
    add_hook_to_module(model.clip, OffloadHook(torch.device("cpu")))

    def move(place):
        moves.append(str(place))
        return model.clip

    model.clip.to = move
    model.offloader._components["clip"] = model.clip

    with on_device(model, "clip", "decoder"):
        moves.append("call")

    assert moves == ["cpu", "call", "cpu"]
