"""Poses: joints from heatmaps, OpenPose's skeleton from joints, and the engine in each number format."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bot.error_texts import NO_PERSON
from bot.errors import ModelUnavailable
from bot.jobs import Media
from bot.models import KEYPOINT_DETECTION
from bot.ports import TaskImage
from inference.engine.base import ImageReady, TaskDone, build_engine
from inference.pose.heatmaps import Box, box_of, find_joints, read_box, whole_image
from inference.pose.people import PersonDetector
from inference.pose.skeleton import draw_poses, openpose_joints
from tests.inference.map_models import save_person_detector, save_pose
from tests.inference.support import make_model, make_task, png

COCO = np.array(  # nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles: left, then right
    [
        *((50, 20), (54, 16), (46, 16), (58, 18), (42, 18), (66, 40), (34, 40), (76, 60), (24, 60), (80, 80)),
        *((20, 80), (60, 90), (40, 90), (62, 120), (38, 120), (62, 150), (38, 150)),
    ],
    np.float32,
)
SIZE = (100, 160)


def person(confidence=0.9):
    return np.concatenate([COCO, np.full((17, 1), confidence, np.float32)], axis=1)


def heatmaps_of(coco, box, size=(48, 64), sigma=1.5):
    """What a perfect model answers for the pixels of a box."""
    y, x = np.mgrid[: size[1], : size[0]]
    at_x = (coco[:, 0] - box.left) / box.width * size[0] - 0.5
    at_y = (coco[:, 1] - box.top) / box.height * size[1] - 0.5
    squares = (x - at_x[:, None, None]) ** 2 + (y - at_y[:, None, None]) ** 2
    return (0.9 * np.exp(-squares / (2 * sigma**2))).astype(np.float32)


@pytest.fixture(scope="module")
def pose_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pose")
    save_pose(folder)
    return folder


@pytest.fixture(scope="module")
def person_detector(tmp_path_factory):
    """Its folder, the model and its processor."""
    folder = tmp_path_factory.mktemp("detector")
    return folder, *save_person_detector(folder)


def load_engine(folder, **settings):
    engine = build_engine(make_model("pose", tasks=(KEYPOINT_DETECTION,), repo=str(folder), **settings))
    engine.load_model("cpu")
    return engine


def run(engine, picture):
    image = TaskImage("init", Media(png(picture), "image/png"))
    engine.add_task(make_task("", command="preview", task=KEYPOINT_DETECTION, options={}, images=(image,)))
    events = engine.step()
    (made,) = [event.image for event in events if isinstance(event, ImageReady)]
    (done,) = [event for event in events if isinstance(event, TaskDone)]
    return np.frombuffer(made.pixels, np.uint8).reshape(made.height, made.width, 3), done.result


def test_joints_are_found_where_they_are():
    box = whole_image(SIZE).padded((48, 64))

    found = find_joints(heatmaps_of(person(), box), box)

    assert np.abs(found[:, :2] - COCO).max() < 2.5
    assert (found[:, 2] > 0.7).all()


def test_the_second_pass_reads_the_box_of_the_joints_found_in_the_first(pose_folder, monkeypatch):
    """A small person in a large picture is found as exactly as one that fills it."""
    engine = load_engine(pose_folder)
    small = person() * (0.25, 0.25, 1) + (300, 200, 0)
    boxes: list[Any] = []

    def predict(crops):
        return np.stack([heatmaps_of(small, boxes[-1])])

    monkeypatch.setattr(engine, "_predict", predict)
    engine._input_size = (192, 256)

    def read_noted_box(image, box, size):
        boxes.append(box)
        return read_box(image, box, size)

    monkeypatch.setattr("inference.pose.engine.read_box", read_noted_box)
    drawing, _ = run(engine, Image.new("RGB", (640, 480)))

    assert [box.width < 100 for box in boxes] == [False, True]
    rows, columns = np.nonzero(drawing.any(axis=2))
    assert abs(columns.min() - (305 - 4)) <= 2
    assert abs(rows.max() - (237 + 4)) <= 2


def test_a_skeleton_has_openposes_joints_and_colors():
    joints = openpose_joints(person())

    drawing = np.asarray(draw_poses([joints], SIZE))

    assert joints.shape == (18, 3)
    assert joints[1, :2].tolist() == [50, 40]  # the neck, between the shoulders
    assert joints[2, :2].tolist() == [34, 40]  # the right shoulder
    assert drawing[40, 34].tolist() == [255, 170, 0]
    assert drawing[40, 66].tolist() == [85, 255, 0]
    assert drawing[40, 42].tolist() == [153, 0, 0]  # the limb from neck to right shoulder
    assert drawing[150, 62].tolist() == [85, 0, 255]  # the left ankle
    assert drawing[0, 0].tolist() == [0, 0, 0]


def test_uncertain_joints_and_their_limbs_are_not_drawn():
    coco = person()
    coco[10, 2] = 0.1  # the right wrist

    drawing = np.asarray(draw_poses([openpose_joints(coco)], SIZE))

    assert not drawing[80, 20].any()
    assert not drawing[70, 22].any()
    assert drawing[60, 24].any()


@pytest.mark.parametrize(("dtype", "experts"), [("float32", 1), ("float16", 2), ("bfloat16", 1)])
def test_a_picture_without_a_person_gets_an_empty_map_and_a_note(pose_folder, tmp_path, dtype, experts):
    """Random weights: the heatmaps are nearly 0 for one, and anything for experts."""
    torch.set_num_threads(1)
    if experts > 1:
        save_pose(tmp_path, experts=experts)
    engine = load_engine(tmp_path if experts > 1 else pose_folder, dtype=dtype)

    drawing, result = run(engine, Image.new("RGB", (30, 50), "blue"))

    assert engine.capabilities["dtype"] == dtype
    assert drawing.shape == (50, 30, 3)
    assert result.notes == (() if drawing.any() else (NO_PERSON,))
    assert experts > 1 or not drawing.any()


def test_a_model_with_other_joints_is_refused(tmp_path):
    save_pose(tmp_path, joints=21)

    with pytest.raises(ModelUnavailable, match="21 joints"):
        load_engine(tmp_path)


def test_a_box_reaches_beyond_the_image_to_keep_the_models_shape():
    box = Box(10, 20, 30, 100).padded((48, 64))

    assert (box.width, box.height) == (93.75, 125)
    assert box.left == 10 + 15 - 93.75 / 2
    assert box_of(person(0.1), whole_image(SIZE), 1) == whole_image(SIZE)
    assert read_box(Image.new("RGB", (4, 4), "white"), Box(-4, 0, 8, 4), (8, 4)).getpixel((0, 0)) == (0, 0, 0)


def test_a_detector_gives_each_person_a_skeleton(pose_folder, person_detector, monkeypatch):
    """The detector's own boxes, and one pass for all of them."""
    engine = load_engine(pose_folder, detector=str(person_detector[0]))
    people = [person(), person() + np.array([120, 0, 0])]
    boxes = [Box(20, 10, 60, 145), Box(140, 10, 60, 145)]
    monkeypatch.setattr(engine._detector, "find_people", lambda images: [boxes])
    sizes = []

    def predict(crops):
        sizes.append(len(crops))
        return np.stack([heatmaps_of(one, box.padded((48, 64))) for one, box in zip(people, boxes, strict=True)])

    monkeypatch.setattr(engine, "_predict", predict)

    drawing, result = run(engine, Image.new("RGB", (240, 160)))

    assert sizes == [2]
    assert drawing[:, :110].any()
    assert drawing[:, 130:].any()
    assert result.notes == ()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_boxes_of_people_are_transformers_own(person_detector, monkeypatch, dtype):
    """In half precision, random weights choose other queries, whose boxes are as good."""
    folder, model, processor = person_detector
    monkeypatch.setattr("inference.pose.people._MIN_SCORE", 0.0)
    detector = PersonDetector(make_model("pose", detector=str(folder), dtype=dtype), "cpu")
    images = [Image.new("RGB", (60, 40), "red"), Image.new("RGB", (30, 40), "blue")]
    with torch.inference_mode():
        found = detector.find_people(images)
        outputs = model(**processor(images=images, return_tensors="pt"))
    expected = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(40, 60), (40, 30)])

    for boxes, own, image in zip(found, expected, images, strict=True):
        assert boxes
        assert all(0 <= box.left <= box.left + box.width <= image.width for box in boxes)
        if dtype == "float32":
            corners = [[box.left, box.top, box.left + box.width, box.top + box.height] for box in boxes]
            torch.testing.assert_close(torch.tensor(corners), own["boxes"][own["labels"] == 0][:12])


def test_a_detector_that_does_not_know_people_is_refused(tmp_path):
    save_person_detector(tmp_path, label="dog")

    with pytest.raises(ModelUnavailable, match="does not know people"):
        PersonDetector(make_model("pose", detector=str(tmp_path)), "cpu")
