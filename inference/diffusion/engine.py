"""Runs a plain Diffusers pipeline as an engine: one task at a time, held at each denoising step.

Pictures of one task are made one after another, each with its own generator, so picture k of four is the
picture that its seed makes alone.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from diffusers import AutoPipelineForImage2Image

from bot.models import IMAGE_TO_IMAGE, ModelSpec
from bot.ports import Task
from bot.texts import PICTURE_BLANKED
from inference.bridge import Bridge, Pause, Paused
from inference.diffusion.adapters import Adapters, LoraSet, family_of, loras_of
from inference.diffusion.call import SEEDS, options_of, render
from inference.diffusion.loading import load_pipeline
from inference.diffusion.previews import Previewer, decoder_of
from inference.diffusion.prompting import Speaker
from inference.diffusion.samplers import Samplers
from inference.engine import EngineEvent, Made, Over, Step
from inference.precision import dtype_name
from inference.protocol import Finished, RawPicture
from inference.weights import folder_of, revision_of

BLANKED = PICTURE_BLANKED


class DiffusionEngine:
    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._bridge = Bridge()
        self._pipelines: dict[bool, Any] = {}
        self._samplers: Samplers | None = None
        self._speaker: Speaker | None = None
        self._form: dict[str, Any] = {}
        self._task: Task | None = None
        self._is_watched = False

    @property
    def free_rows(self) -> int:
        return 0 if self._task else 1

    @property
    def form(self) -> Mapping[str, Any]:
        return self._form

    def load(self, device: str) -> None:
        folder = folder_of(self._model)
        pipeline = load_pipeline(self._model, folder, device)
        self._pipelines = {False: pipeline}
        self._samplers = Samplers(pipeline.scheduler)
        self._speaker = Speaker(pipeline, Adapters(pipeline))
        self._form = {
            "samplers": list(self._samplers.names),
            "options": options_of(pipeline, has_strength=IMAGE_TO_IMAGE in self._model.tasks),
            "revision": revision_of(self._model, folder),
            "family": family_of(pipeline),
            "dtype": dtype_name(pipeline.dtype),
        }

    def admit(self, task: Task) -> None:
        assert self._samplers is not None
        pipeline = self._pipeline(starts_from_picture=task.task == IMAGE_TO_IMAGE)
        pipeline.scheduler = self._samplers.make(str(task.options.get("sampler", "")))
        self._task, self._is_watched = task, task.watched
        self._bridge.start(lambda pause: self._render(task, pipeline, pause))

    def step(self) -> Sequence[EngineEvent]:
        outcome = self._bridge.advance()
        if isinstance(outcome, Paused):
            return [outcome.value]
        assert self._task is not None
        task_id, self._task = self._task.id, None
        return [Over(task_id=task_id, finished=outcome.value)]

    def cancel(self, task_id: str) -> None:
        if self._task is not None and self._task.id == task_id:
            self._task = None
            self._bridge.stop()

    def watch(self, task_id: str, watched: bool) -> None:
        if self._task is not None and self._task.id == task_id:
            self._is_watched = watched

    def save_memory(self) -> None:
        vae = getattr(self._pipelines[False], "vae", None)
        for name in ("enable_slicing", "enable_tiling"):
            if hasattr(vae, name):
                getattr(vae, name)()

    def unload(self) -> None:
        self._bridge.close()
        self._speaker = None
        self._pipelines.clear()
        self._samplers = None

    def _pipeline(self, *, starts_from_picture: bool) -> Any:
        if starts_from_picture not in self._pipelines:
            self._pipelines[True] = AutoPipelineForImage2Image.from_pipe(self._pipelines[False])
            self._pipelines[True].set_progress_bar_config(disable=True)
        return self._pipelines[starts_from_picture]

    def _render(self, task: Task, pipeline: Any, pause: Pause) -> Finished:
        """Runs in the bridge's thread."""
        count = int(task.options.get("count", 1))
        assert self._speaker is not None
        speaker = self._speaker
        notes = list(speaker.notes(task, is_demo=self._model.demo))
        previewer = Previewer(decoder_of(pipeline), time.monotonic)
        for index in range(count):
            loras = loras_of(task, index)

            def on_step(step: int, steps: int, latents: Any, done: int = index, loras: LoraSet = loras) -> None:
                preview = previewer.make(latents) if self._is_watched else None
                pause(Step(task_id=task.id, step=done * steps + step, steps=count * steps, preview=preview))
                speaker.adapters.apply(loras)  # others may have had theirs meanwhile

            seed = (int(task.options["seed"]) + index) % SEEDS
            said = speaker.say(task, index)
            speaker.adapters.apply(loras)
            pixels, was_blanked = render(pipeline, task, seed, on_step, said)
            if was_blanked and BLANKED not in notes:
                notes.append(BLANKED)
            pause(Made(task_id=task.id, picture=self._picture(task, index, seed, pixels, was_blanked)))
        return Finished(notes=tuple(notes), revision=self._form["revision"])

    def _picture(self, task: Task, index: int, seed: int, pixels: Any, was_blanked: bool) -> RawPicture:
        assert self._samplers is not None
        return RawPicture(
            index=index,
            width=pixels.shape[1],
            height=pixels.shape[0],
            pixels=pixels.tobytes(),
            seed=seed,
            sampler=str(task.options.get("sampler", "")) or self._samplers.own,
            revision=self._form["revision"],
            nsfw=1.0 if was_blanked else None,
        )
