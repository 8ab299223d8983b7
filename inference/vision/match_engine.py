"""BLIP-2's matching as an engine: texts for a picture, ranked, in one step."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bot.commands.match import split_texts
from bot.errors import EngineError
from bot.jobs import Media
from bot.models import ModelSpec
from bot.ports import Measured, Task
from inference.checkpoints.resolve import folder_of, revision_of
from inference.engine.base import EngineEvent, Over, Reading, Step
from inference.engine.tokenizer_notes import question_notes
from inference.ipc.messages import Finished
from inference.memory.offload import placement_of
from inference.memory.precision import dtype_name
from inference.vision.feature_cache import Kept
from inference.vision.image_encoder import Look, Looks
from inference.vision.itm import Matcher, alike
from inference.vision.loader import load_matcher

ROWS = 16
"""Tasks that are admitted."""
AT_ONCE = 4
"""Tasks that one step does; the others wait no longer than that takes."""


@dataclass(frozen=True)
class _Asked:
    task: Task
    look: Look
    texts: list[str]


class MatchEngine:
    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._form: dict[str, Any] = {}
        self._asked: dict[str, _Asked] = {}
        self._at_once = AT_ONCE
        self._used: dict[str, float] = {}
        self._took: dict[str, float] = {}

    @property
    def free_rows(self) -> int:
        return max(0, ROWS - len(self._asked))

    @property
    def form(self) -> Mapping[str, Any]:
        return self._form

    def load(self, device: str) -> None:
        folder = folder_of(self._model)
        self._blip, self._processor = load_matcher(self._model, folder, device)
        self._matcher = Matcher(self._blip, self._processor.tokenizer)
        revision = revision_of(self._model, folder)
        self._looks = Looks(
            self._matcher.see,
            self._processor.image_processor,
            revision,
            Kept(self._model.seen_mb * 2**20),
            self._blip.device,
            self._blip.dtype,
        )
        self._form = {
            "samplers": [],
            "options": ["texts"],
            "revision": revision,
            "dtype": dtype_name(self._blip.dtype),
            "rows": ROWS,
            "attention": self._blip.config._attn_implementation,
        }

    def admit(self, task: Task) -> None:
        if not task.images:
            raise EngineError(detail="a match without a picture")
        started = time.monotonic()
        look = self._looks.prepare(task.images[0].media)
        self._asked[task.id] = _Asked(task, look, split_texts(str(task.options["texts"])))
        self._used[task.id] = time.monotonic() - started

    @torch.inference_mode()
    def step(self) -> Sequence[EngineEvent]:
        now = list(self._asked.values())[: self._at_once]
        if not now:
            return []
        started = time.monotonic()
        answers = self._answers(now)
        seconds = (time.monotonic() - started) / len(now)
        events: list[EngineEvent] = []
        for asked, text in zip(now, answers, strict=True):
            task_id = asked.task.id
            del self._asked[task_id]
            self._used[task_id] = self._used.get(task_id, 0.0) + seconds
            self._took[task_id] = seconds
            notes = question_notes(self._processor.tokenizer, " ".join(asked.texts), is_demo=self._model.demo)
            finished = Finished(text=text, notes=notes, revision=self._form["revision"])
            events += [Step(task_id=task_id, step=1, steps=1), Over(task_id=task_id, finished=finished)]
        return events

    def cancel(self, task_id: str) -> None:
        self._asked.pop(task_id, None)

    def watch(self, task_id: str, watched: bool) -> None:
        """There are no previews."""

    def used(self) -> Mapping[str, float]:
        """Device-seconds by task since the last call."""
        used, self._used = self._used, {}
        return used

    def readings(self, task: Task) -> Sequence[Reading]:
        """What this task took of the step that it shared."""
        seconds = self._took.pop(task.id, None)
        return [] if seconds is None else [Reading(what="token", rows=1, seconds=seconds)]

    def know(self, rates: Sequence[Measured]) -> None:
        """It needs to know nothing: whoever is here is served together."""

    def save_memory(self) -> str | None:
        """One task at a time, and nothing kept of pictures seen; then less of the device."""
        if self._at_once > 1:
            self._at_once = 1
            self._looks.kept.clear()
            return "rows"
        placement = placement_of(self._blip)
        return placement.save() if placement is not None else None

    def unload(self) -> None:
        self._asked.clear()
        self._looks.kept.clear()
        del self._blip, self._processor, self._matcher, self._looks

    # ------------------------------------------------------------ for searches

    @torch.inference_mode()
    def embed_pictures(self, pictures: Sequence[Media]) -> torch.Tensor:
        """Contrastive embeddings, (pictures, queries, width of the shared space), each of length 1, on the CPU.

        `matcher.alike` compares them with those of texts.
        """
        seen = self._looks.see([self._looks.prepare(picture) for picture in pictures])
        return torch.stack([embeds for _, embeds in seen]).float().cpu()

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Contrastive embeddings, (texts, width of the shared space), each of length 1, on the CPU."""
        return self._matcher.texts(texts).float().cpu()

    # ------------------------------------------------------------ one step

    def _answers(self, now: Sequence[_Asked]) -> list[str]:
        """All pairs of all tasks are judged in one pass."""
        seen = self._looks.see([asked.look for asked in now])
        counts = [len(asked.texts) for asked in now]
        texts = [text for asked in now for text in asked.texts]
        patches = torch.cat([found[0].expand(count, -1, -1) for found, count in zip(seen, counts, strict=True)])
        fits = self._matcher.fits(patches, texts).split(counts)
        read = self._matcher.texts(texts).split(counts)
        return [
            ranked(asked.texts, fit.tolist(), alike(found[1][None], words)[0].tolist())
            for asked, found, fit, words in zip(now, seen, fits, read, strict=True)
        ]


def ranked(texts: Sequence[str], fits: Sequence[float], likeness: Sequence[float]) -> str:
    """A line for each text, the best first; of those that fit as well, the most alike. Each is judged by itself, so
    the percentages need not add up to 100."""
    order = sorted(range(len(texts)), key=lambda number: (round(fits[number], 4), likeness[number]), reverse=True)
    return "\n".join(f"{100 * fits[number]:.0f} % {texts[number]}" for number in order)
