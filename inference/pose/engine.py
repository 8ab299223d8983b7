"""The pose engine: the skeletons of the people in an image, in OpenPose's colors, by ViTPose.

ViTPose reads the box of one person. The model's detector finds these boxes; without one, ViTPose first gets the whole
image, then the box of the joints that it found there, so it finds one person, the most visible one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import VitPoseForPoseEstimation, VitPoseImageProcessorPil

from bot.error_texts import NO_PERSON
from bot.errors import EngineError, ModelUnavailable
from bot.ports import Task
from inference.engine.single_pass import PassOutput, SinglePassEngine
from inference.images.flatten import open_on_white
from inference.ipc.messages import RawImage, TaskResult
from inference.memory.offload import ComponentOffloader, offloader_of
from inference.memory.precision import dtype_name
from inference.memory.transformers_loader import load_module
from inference.pose.heatmaps import Box, box_of, find_joints, read_box, whole_image
from inference.pose.people import PersonDetector
from inference.pose.skeleton import MIN_CONFIDENCE, Joints, draw_poses, openpose_joints

_COCO_JOINTS = 17
_HEATMAP_SCALE = 4
"""How much smaller than its input ViTPose's heatmaps are."""
_CROPS_PER_PASS = 8
_MIN_JOINTS = 3
"""Fewer certain joints are no person."""


@dataclass(frozen=True)
class PoseInput:
    image: Image.Image


class PoseEngine(SinglePassEngine[PoseInput]):
    _offloader: ComponentOffloader

    def _load(self, folder: Path, device: str) -> Mapping[str, Any]:
        self._processor = VitPoseImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self._network = load_module(VitPoseForPoseEstimation, self._model, folder, device)
        offloader = offloader_of(self._network)
        assert offloader is not None
        self._offloader = offloader
        config = self._network.config
        if config.num_labels != _COCO_JOINTS:
            raise ModelUnavailable(self._model.name, f"it finds {config.num_labels} joints, not COCO's {_COCO_JOINTS}")
        height, width = config.backbone_config.image_size
        self._input_size = (int(width), int(height))
        self._detector = PersonDetector(self._model, device) if self._model.detector else None
        self._has_experts = getattr(config.backbone_config, "num_experts", 1) > 1
        return {"dtype": dtype_name(self._network.dtype)}

    def _unload(self) -> None:
        del self._network, self._processor, self._offloader, self._detector

    def _use_less_memory(self) -> str | None:
        level = self._offloader.use_less_memory()
        return self._detector.use_less_memory() if level is None and self._detector is not None else level

    def _prepare_input(self, task: Task) -> PoseInput:
        return PoseInput(open_on_white(task.images[0].media.data))

    def _run_pass(self, tasks: Sequence[Task], inputs: Sequence[PoseInput]) -> list[PassOutput]:
        images = [one.image for one in inputs]
        boxes = self._detector.find_people(images) if self._detector is not None else self._find_boxes(images)
        pairs = [(image, box) for image, found in zip(images, boxes, strict=True) for box in found]
        people = iter(self._find_joints(pairs))
        return [
            self._answer([next(people) for _ in found], image.size) for image, found in zip(images, boxes, strict=True)
        ]

    def _find_boxes(self, images: Sequence[Image.Image]) -> list[list[Box]]:
        """The box of the most visible person in each image, by the joints found in the whole image."""
        frames = [whole_image(image.size) for image in images]
        rough = self._find_joints(list(zip(images, frames, strict=True)))
        return [[box_of(joints, frame, self._cell_of(frame))] for joints, frame in zip(rough, frames, strict=True)]

    def _cell_of(self, frame: Box) -> float:
        """By how many pixels a joint in a heatmap of the frame may be off."""
        return frame.padded(self._input_size).width * _HEATMAP_SCALE / self._input_size[0]

    def _find_joints(self, pairs: Sequence[tuple[Image.Image, Box]]) -> list[Joints]:
        """COCO's joints of the person in each box of an image."""
        found: list[Joints] = []
        for at in range(0, len(pairs), _CROPS_PER_PASS):
            padded = [(image, box.padded(self._input_size)) for image, box in pairs[at : at + _CROPS_PER_PASS]]
            heatmaps = self._predict([read_box(image, box, self._input_size) for image, box in padded])
            found += [find_joints(each, box) for each, (_, box) in zip(heatmaps, padded, strict=True)]
        return found

    def _predict(self, crops: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Heatmaps, (images, joints, height, width)."""
        inputs = self._processor(images=list(crops), boxes=None, do_affine_transform=False, return_tensors="pt")
        device = self._offloader.device
        pixels = inputs["pixel_values"].to(device, self._network.dtype)
        experts = {"dataset_index": torch.zeros(len(crops), dtype=torch.long, device=device)}
        heatmaps = self._network(pixel_values=pixels, **(experts if self._has_experts else {})).heatmaps.float().cpu()
        if not torch.isfinite(heatmaps).all():
            raise EngineError(detail=f"{self._model.name} predicted heatmaps that are no numbers")
        pixels_of: NDArray[np.float32] = heatmaps.numpy()
        return pixels_of

    def _answer(self, people: Sequence[Joints], size: tuple[int, int]) -> PassOutput:
        certain = [coco for coco in people if np.count_nonzero(coco[:, 2] >= MIN_CONFIDENCE) >= _MIN_JOINTS]
        drawing = draw_poses([openpose_joints(coco) for coco in certain], size)
        image = RawImage(
            index=0,
            width=size[0],
            height=size[1],
            pixels=drawing.tobytes(),
            seed=0,
            revision=self._revision,
            is_generated=False,
        )
        notes = () if certain else (NO_PERSON,)
        return PassOutput(result=TaskResult(revision=self._revision, notes=notes), images=(image,))
