"""Diffusion pipelines as an engine that makes many people's pictures at once.

Every picture, also each of several of one task, is a run of the stock pipeline of its own, held at the calls of its
denoiser (`suspending.py`); calls that fit share a pass (`batch.py`), and finished latents are decoded beside the loop
(`aside.py`). So picture k of four is the picture that its seed makes alone, to within a level of 8 bits.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from bot.error_texts import PICTURE_BLANKED
from bot.errors import InvalidOption
from bot.models import IMAGE_TO_IMAGE, ModelSpec
from bot.ports import Measured, Task, step_of
from inference.checkpoints.resolve import folder_of, revision_of
from inference.diffusion import decode_batching
from inference.diffusion.batching import Merge, merge_for
from inference.diffusion.coroutines import Call, Held, holding, suspend
from inference.diffusion.decode_thread import Aside, Decoded
from inference.diffusion.embedding_cache import Conditions
from inference.diffusion.loader import load_pipeline, load_tiny, takes
from inference.diffusion.lora import Adapters, family_of, loras_of
from inference.diffusion.pipeline_call import SEEDS, options_of, render
from inference.diffusion.pipeline_variants import FROM_PICTURE, WITH_MASK, sibling
from inference.diffusion.previews import Previewer, decoder_of
from inference.diffusion.prompt_cache import Speaker
from inference.diffusion.samplers import Samplers
from inference.diffusion.sequence import Made as Pixels
from inference.diffusion.sequence import Picture
from inference.diffusion.step_loop import Batch, shape_of
from inference.engine.base import EngineEvent, Failed, Made, Over, Reading, Step
from inference.ipc.messages import Finished, RawPicture
from inference.memory.offload import placement_of
from inference.memory.precision import dtype_name

DENOISERS = ("unet", "transformer")
"""Components that are called at each step, by the names that Diffusers' pipelines give them."""
ROWS = 16
"""Tasks that are in flight at once; a pass takes as many of their rows as pay."""
DECODE_WAIT_S = 0.05
"""How long one step waits for a decode when there is nothing else to do: newcomers and cancels are heard in between."""
PAUSE = "a step without a denoiser of its own"


@dataclass
class _Admitted:
    """A task.

    Attributes:
        pictures: those not ended yet; `made` counts those that are, and `steps` theirs.
        told: the step that was told last.
    """

    task: Task
    watched: bool
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    made: int = 0
    steps: int = 0
    told: int = 0

    @property
    def count(self) -> int:
        return self.made + len(self.pictures)


class DiffusionEngine:
    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._pipelines: dict[str, Any] = {}
        self._samplers: Samplers | None = None
        self._form: dict[str, Any] = {}
        self._tasks: dict[str, _Admitted] = {}
        self._waiting: list[Picture] = []
        self._order = itertools.count()
        self._events: list[EngineEvent] = []
        self._where: torch.device | None = None
        """Where pipelines compute, once it was asked."""
        self._ended: dict[str, Picture] = {}
        """The last picture of each task that ended in the last step."""

    @property
    def free_rows(self) -> int:
        return max(0, ROWS - len(self._tasks))

    @property
    def form(self) -> Mapping[str, Any]:
        return self._form

    def load(self, device: str) -> None:
        folder = folder_of(self._model)
        pipeline = load_pipeline(self._model, folder, device)
        self._pipelines = {"": pipeline}
        self._samplers = Samplers(pipeline.scheduler)
        self._conditions = Conditions()
        self._speaker = Speaker(pipeline, Adapters(pipeline))
        self._see = decoder_of(pipeline, folder, load_tiny(self._model, device))
        self._denoiser = next((name for name in DENOISERS if getattr(pipeline, name, None) is not None), "")
        denoiser = getattr(pipeline, self._denoiser) if self._denoiser else None
        self._merge: Merge | None = merge_for(denoiser) if denoiser is not None else None
        where = torch.device(device)
        self._batch = Batch(denoiser, self._merge, where, self._speaker.adapters)
        self._aside = (
            None
            if _takes_turns(pipeline)
            else Aside(self._perform, where, together=partial(decode_batching.together, getattr(pipeline, "vae", None)))
        )
        self._form = {
            "samplers": list(self._samplers.names),
            "options": options_of(pipeline, has_strength=IMAGE_TO_IMAGE in self._model.tasks),
            "revision": revision_of(self._model, folder),
            "family": family_of(pipeline),
            "dtype": dtype_name(pipeline.dtype),
            "rows": ROWS,
        }

    def know(self, rates: Sequence[Measured]) -> None:
        self._batch.know(rates)

    def admit(self, task: Task) -> None:
        assert self._samplers is not None
        self._samplers.require(_sampler(task))
        admitted = _Admitted(task, task.watched)
        admitted.notes += self._speaker.notes(task, is_demo=self._model.demo)
        for index in range(int(task.options.get("count", 1))):
            seed = (int(task.options["seed"]) + index) % SEEDS
            previewer = Previewer(self._see, time.monotonic)
            admitted.pictures.append(
                Picture(
                    task=task,
                    index=index,
                    seed=seed,
                    order=next(self._order),
                    previewer=previewer,
                    denoiser=self._denoiser,
                    loras=loras_of(task, index),
                )
            )
        self._tasks[task.id] = admitted
        self._waiting += admitted.pictures

    def step(self) -> Sequence[EngineEvent]:
        self._ended.clear()
        with torch.no_grad():
            self._begin_waiting()
            self._hear_decoded(0.0 if len(self._batch) else DECODE_WAIT_S)
            if len(self._batch):
                for picture in self._batch.step(self._fail):
                    self._count(picture)
                    self._go_on(picture)
            if self._aside is not None:
                self._aside.send()
            self._tell_steps()
        events, self._events = self._events, []
        return events

    def used(self) -> Mapping[str, float]:
        return self._batch.take_spent()

    def readings(self, task: Task) -> Sequence[Reading]:
        """Passes are told in rows of one picture without guidance; steps in tasks like this one, as far as passes of
        that size were measured."""
        costs, picture = self._batch.costs(shape_of(task.options)), self._ended.get(task.id)
        if costs is None or picture is None:
            return []
        row, whole, measured = picture.tokens // picture.rows, picture.tokens, costs.measured()
        found = [Reading(what="pass", rows=round(at.size / row), seconds=at.seconds) for at in measured]
        for together in (1, 2, 4, 8, 16):
            seconds = costs.seconds(together * whole)
            if seconds is not None and (together == 1 or together * whole <= measured[-1].size):
                found.append(Reading(what=step_of(task.options), rows=together, seconds=seconds))
        return found

    def cancel(self, task_id: str) -> None:
        admitted = self._tasks.pop(task_id, None)
        for picture in admitted.pictures if admitted is not None else ():
            self._batch.drop(picture)
            if picture in self._waiting:
                self._waiting.remove(picture)
            picture.stop()

    def watch(self, task_id: str, watched: bool) -> None:
        if task_id in self._tasks:
            self._tasks[task_id].watched = watched

    def save_memory(self) -> str | None:
        placement = placement_of(self._pipelines[""])
        if self._aside is not None:
            self._aside.send()
        while self._aside is not None and self._aside.pending:
            self._hear_decoded(DECODE_WAIT_S)  # nothing is moved while it computes
        rung = placement.save() if placement is not None else None
        self._where = None
        if self._aside is not None and _takes_turns(self._pipelines[""]):
            self._aside.close()
            self._aside = None
        return rung

    def unload(self) -> None:
        for task_id in list(self._tasks):
            self.cancel(task_id)
        if self._pipelines and self._aside is not None:
            self._aside.close()
        self._pipelines.clear()
        self._samplers = self._where = None
        self.__dict__.pop("_batch", None)
        self.__dict__.pop("_conditions", None)
        self.__dict__.pop("_speaker", None)
        self.__dict__.pop("_aside", None)

    # ------------------------------------------------------------ one picture's way

    def _begin_waiting(self) -> None:
        """Newcomers come to their first pass: their words and pictures are encoded."""
        waiting, self._waiting = self._waiting, []
        began = time.monotonic()
        self._speaker.prepare([(picture.task, picture.index) for picture in waiting])
        each_s = (time.monotonic() - began) / max(1, len(waiting))
        for picture in waiting:
            started = time.monotonic()
            try:
                picture.begin(self._make, self._merge)
            except Exception as error:  # it is this picture's own
                self._fail(picture, error)
            else:
                self._batch.add(picture)
                self._go_on(picture)
            finally:
                self._batch.spent[picture.task.id] += each_s + time.monotonic() - started

    def _go_on(self, picture: Picture) -> None:
        """To the next pass, to be decoded, or to its end."""
        while picture.call is not None and picture.call.component != self._denoiser:
            if picture.call.method == "decode" and self._aside is not None:
                self._batch.drop(picture)
                self._aside.put(picture)
                return
            if picture.call.component == PAUSE:
                return
            self._answer(picture)
        if picture.made is not None:
            self._batch.drop(picture)
            self._end(picture, picture.made)

    def _count(self, picture: Picture) -> None:
        """The step of a pipeline that does not tell of its steps."""
        if "callback_on_step_end" not in takes(self._pipeline(picture.task)):
            steps = max(picture.step + 1, int(picture.task.options["steps"]))
            picture.note(picture.step + 1, steps, None)

    def _answer(self, picture: Picture) -> None:
        """Make its call here and now."""
        assert picture.call is not None
        try:
            picture.resume(self._perform(picture.call))
        except Exception as error:  # it is this picture's own
            self._batch.drop(picture)
            self._fail(picture, error)

    def _hear_decoded(self, wait_s: float = 0.0) -> None:
        if self._aside is None:
            return
        for decoded in self._aside.take(wait_s):
            self._decoded(decoded)

    def _decoded(self, decoded: Decoded) -> None:
        picture = decoded.picture
        if picture.call is None:
            return  # cancelled meanwhile
        self._batch.spent[picture.task.id] += decoded.seconds
        try:
            if decoded.error is not None:
                picture.fail(decoded.error)
            else:
                picture.resume(decoded.answer)
        except Exception as error:  # it is this picture's own
            self._fail(picture, error)
        else:
            self._go_on(picture)

    def _perform(self, call: Call) -> Any:
        """Make a call that is not a pass of the denoiser."""
        module = getattr(self._pipelines[""], call.component)
        if call.method == "decode":  # a decoder kept in full precision takes latents of half
            call = Call(call.component, call.method, (call.args[0].to(module.dtype), *call.args[1:]), call.kwargs)
        return call.perform(module)

    def _end(self, picture: Picture, pixels: Pixels) -> None:
        admitted = self._tasks[picture.task.id]
        admitted.pictures.remove(picture)
        admitted.made += 1
        admitted.steps += picture.steps
        array, was_blanked = pixels
        if was_blanked and PICTURE_BLANKED not in admitted.notes:
            admitted.notes.append(PICTURE_BLANKED)
        self._events.append(Made(task_id=picture.task.id, picture=self._raw(picture, array, was_blanked)))
        if not admitted.pictures:
            del self._tasks[picture.task.id]
            self._ended[picture.task.id] = picture
            finished = Finished(notes=tuple(admitted.notes), revision=self._form["revision"])
            self._events.append(Over(task_id=picture.task.id, finished=finished))

    def _fail(self, picture: Picture, error: Exception) -> None:
        """One picture that fails ends its task."""
        if picture.task.id not in self._tasks:
            return  # another of its pictures did
        self.cancel(picture.task.id)
        self._events.append(Failed(task_id=picture.task.id, error=error))

    # ------------------------------------------------------------ inside of a picture's run

    def _make(self, picture: Picture) -> Pixels:
        """Runs in the picture's greenlet."""
        assert self._samplers is not None
        pipeline = self._pipeline(picture.task)
        said = self._speaker.say(picture.task, picture.index)
        self._speaker.adapters.apply(picture.loras)
        replaced = {
            "scheduler": self._samplers.make(_sampler(picture.task)),
            **self._conditions.replacing(pipeline, picture.loras),
        }
        methods: dict[str, tuple[str, ...]] = {self._denoiser: ("forward",)} if self._denoiser else {}
        if getattr(pipeline, "vae", None) is not None:
            methods["vae"] = ("decode",)
        if self._where is None:
            self._where = pipeline._execution_device
        own = holding(pipeline, Held(methods=methods, replaced=replaced, device=self._where))

        def on_step(step: int, steps: int, latents: Any) -> None:
            picture.note(step, steps, latents)
            if not self._denoiser:
                suspend(Call(PAUSE, "", (), {}))

        return render(own, picture.task, picture.seed, on_step, said)

    def _pipeline(self, task: Task) -> Any:
        """The pipeline from words, from a picture, or from a picture and a mask."""
        roles = {image.role for image in task.images}
        kind = WITH_MASK if WITH_MASK in roles else FROM_PICTURE if task.task == IMAGE_TO_IMAGE else ""
        if kind not in self._pipelines:
            try:
                self._pipelines[kind] = sibling(self._pipelines[""], kind)
            except ValueError as error:  # Diffusers has no such pipeline for the family
                raise InvalidOption(kind, "model_lacks", value=self._model.name) from error
            self._pipelines[kind].set_progress_bar_config(disable=True)
        return self._pipelines[kind]

    # ------------------------------------------------------------ what is told

    def _tell_steps(self) -> None:
        """One event for each task that is in flight and got on."""
        told: list[EngineEvent] = []
        for task_id, admitted in self._tasks.items():
            each = max((picture.steps for picture in admitted.pictures), default=0)
            step = admitted.steps + sum(picture.step for picture in admitted.pictures)
            if each and step > admitted.told:
                admitted.told = step
                told.append(
                    Step(task_id=task_id, step=step, steps=each * admitted.count, preview=self._preview(admitted))
                )
        self._events = told + self._events

    def _preview(self, admitted: _Admitted) -> bytes | None:
        """Of the first picture that is not made yet."""
        if not admitted.watched:
            return None
        picture = admitted.pictures[0]
        return picture.previewer.make(picture.latents)

    def _raw(self, picture: Picture, pixels: Any, was_blanked: bool) -> RawPicture:
        assert self._samplers is not None
        return RawPicture(
            index=picture.index,
            width=pixels.shape[1],
            height=pixels.shape[0],
            pixels=pixels.tobytes(),
            seed=picture.seed,
            sampler=_sampler(picture.task) or self._samplers.own,
            revision=self._form["revision"],
            nsfw=1.0 if was_blanked else None,
        )


def _sampler(task: Task) -> str:
    return str(task.options.get("sampler", ""))


def _takes_turns(pipeline: Any) -> bool:
    """Whether its parts send one another away, so that no two may compute at once."""
    placement = placement_of(pipeline)
    return placement is not None and placement.takes_turns
