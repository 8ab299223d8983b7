"""BLIP-2 as an engine: captions and answers of many tasks, written together one token at a time.

Each step writes one token for every text in the batch, lets newcomers in, and advances the search with beams if there
is one. Whoever has no text on its way comes first; a second one of the same task takes a row that nobody else wants.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from bot.errors import EngineError
from bot.models import ModelSpec
from bot.ports import Measured, Task
from inference.checkpoints.resolve import folder_of, revision_of
from inference.engine.base import EngineEvent, Over, Reading, Step
from inference.engine.cost_model import CostTable
from inference.engine.tokenizer_notes import question_notes
from inference.ipc.messages import Finished
from inference.memory.offload import placement_of
from inference.memory.precision import dtype_name
from inference.vision.beam_search import Search, Searches
from inference.vision.decode_batch import Batch
from inference.vision.feature_cache import Kept
from inference.vision.generation_plan import Wish, prompt_of, tidy
from inference.vision.image_encoder import Looks
from inference.vision.language_model import language_for
from inference.vision.loader import load_blip
from inference.vision.prompt_ids import Prompts
from inference.vision.request import Teller
from inference.vision.sequence import Row, generation, is_sampling, warpers

ROWS = 16
"""Texts that are written together. Writing is bound by reading the weights, so more cost little; what newcomers cost
is bounded by `NEWCOMERS`."""
NEWCOMERS = 4
"""Texts that begin in one step, because looking at pictures takes as long as many tokens and others wait for it."""
_OPTIONS = ["question", "num_beams", "temperature", "top_p", "min_new_tokens", "max_new_tokens", "seed"]


class VisionEngine:
    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._form: dict[str, Any] = {}
        self._rows, self._newcomers = ROWS, NEWCOMERS
        self._tellers: dict[str, Teller] = {}
        self._used: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._costs = CostTable()

    @property
    def free_rows(self) -> int:
        return max(0, self._rows - len(self._tellers))

    @property
    def form(self) -> Mapping[str, Any]:
        return self._form

    def load(self, device: str) -> None:
        folder = folder_of(self._model)
        self._blip, self._processor = load_blip(self._model, folder, device)
        language = language_for(self._blip.language_model)
        self._batch = Batch(language) if language else None
        self._rows = ROWS if language else 1
        self._searches = Searches(self._blip.language_model)
        self._prompts = Prompts(self._blip, self._processor)
        revision = revision_of(self._model, folder)
        self._looks = Looks(
            partial(see, self._blip),
            self._processor.image_processor,
            revision,
            Kept(self._model.seen_mb * 2**20),
            self._blip.device,
            self._blip.dtype,
        )
        self._form = {
            "samplers": [],
            "options": _OPTIONS,
            "revision": revision,
            "dtype": dtype_name(self._blip.dtype),
            "rows": self._rows,
            "attention": self._blip.config._attn_implementation,
        }

    def admit(self, task: Task) -> None:
        if not task.images:
            raise EngineError(detail="a vision task without a picture")
        with self._charged([task.id], self._begun):
            text = prompt_of(task, self._model)
            words = self._prompts.words(text)
            limit = int(task.options.get("max_new_tokens", self._model.max_new_tokens))
            room = self._prompts.room(words, text)
            looks = [self._looks.prepare(image.media) for image in task.images]
            self._tellers[task.id] = Teller(task, words, looks, limit if room is None else min(limit, room))

    @torch.inference_mode()
    def step(self) -> Sequence[EngineEvent]:
        try:
            return self._step()
        except BaseException:
            self._forget()  # whatever a failed pass left behind is no state to go on from
            raise

    def cancel(self, task_id: str) -> None:
        self._begun.pop(task_id, None)
        if self._tellers.pop(task_id, None) is not None:
            self._searches.drop(task_id)
            if self._batch is not None:
                self._batch.drop(task_id)

    def watch(self, task_id: str, watched: bool) -> None:
        """Text has no previews."""

    def used(self) -> Mapping[str, float]:
        """Device-seconds by task since the last call. A pass is shared by its rows; reading a picture and a prompt is
        paid by whoever brought them."""
        used, self._used = self._used, {}
        return used

    def readings(self, task: Task) -> Sequence[Reading]:
        """Seconds of one token at so many rows, of the last times; and what the task's beginning took."""
        found = []
        for rows in (1, 2, 4, 8, 16):
            seconds = self._costs.seconds(rows)
            if seconds is not None:
                found.append(Reading(what="token", rows=rows, seconds=seconds))
        begun = self._begun.pop(task.id, None)
        return [*found, Reading(what="job", rows=1, seconds=begun)] if found and begun is not None else found

    def learned(self) -> list[tuple[int, float]]:
        """Rows and the mean seconds of one token of all of them, as they were measured."""
        return [(round(point.size), point.seconds) for point in self._costs.measured()]

    def know(self, rates: Sequence[Measured]) -> None:
        """It needs to know nothing: whoever is here is served together."""

    def save_memory(self) -> str | None:
        """Half as many rows, one newcomer at a time, and nothing kept of pictures seen; then less of the device."""
        if self._rows > 1:
            self._rows, self._newcomers = self._rows // 2, 1
            self._looks.kept.clear()
            return "rows"
        placement = placement_of(self._blip)
        return placement.save() if placement is not None else None

    def unload(self) -> None:
        self._forget()
        self._tellers.clear()
        self._searches.close()
        self._looks.kept.clear()
        del self._blip, self._processor, self._prompts, self._looks, self._batch, self._searches

    # ------------------------------------------------------------ one step

    def _step(self) -> list[EngineEvent]:
        advanced: dict[str, None] = {}
        if self._batch is not None and self._batch.rows:
            advanced |= self._write(self._batch)
        if self._searches.current is not None:
            advanced |= self._search()
        if newcomers := self._choose():
            advanced |= self._begin(newcomers)
        return [event for task_id in advanced for event in self._events(task_id)]

    def _write(self, batch: Batch) -> dict[str, None]:
        rows = list(batch.rows)
        started = time.monotonic()
        with self._charged([row.owner for row in rows]):
            done = batch.write()
        self._costs.learn(len(rows), time.monotonic() - started)
        return self._heard(rows, done)

    def _search(self) -> dict[str, None]:
        search = self._searches.current
        assert search is not None
        with self._charged([search.owner]):
            done = self._searches.advance()
        teller = self._tellers[search.owner]
        if done is None:
            teller.advances(search.place, search.made)
        else:
            teller.hears(search.place, [self._text(ids) for ids in search.written])
        return {search.owner: None}

    def _begin(self, newcomers: list[tuple[Teller, int, Wish]]) -> dict[str, None]:
        """Look at the newcomers' pictures together, then read their prompts together."""
        rows: list[Row] = []
        prompts: list[torch.Tensor] = []
        with self._charged([teller.task.id for teller, _, _ in newcomers], self._begun):
            seen = self._looks.see([teller.looks[wish.picture] for teller, _, wish in newcomers])
            for (teller, place, wish), (picture,) in zip(newcomers, seen, strict=True):
                embeds = self._prompts.embeds(picture, teller.words)
                if self._is_search(wish):
                    self._searches.begin(self._search_of(teller, place, wish, embeds))
                else:
                    rows.append(self._row_of(teller, place, wish))
                    prompts.append(embeds)
            done = self._batch.join(rows, prompts) if self._batch is not None and rows else []
        return self._heard(rows, done)

    def _choose(self) -> list[tuple[Teller, int, Wish]]:
        """Who begins a text in this step."""
        writing = [row.owner for row in self._batch.rows] if self._batch is not None else []
        is_searching = self._searches.current is not None
        chosen: list[tuple[Teller, int, Wish]] = []
        while len(chosen) < self._newcomers:
            able = [one for one in self._tellers.values() if one.waiting and not (is_searching and self._needs(one))]
            if not able:
                break
            teller = min(able, key=lambda one: writing.count(one.task.id))
            if writing.count(teller.task.id) and len(writing) >= self._rows:
                break
            place, wish = teller.waiting.popleft()
            chosen.append((teller, place, wish))
            writing.append(teller.task.id)
            is_searching = is_searching or self._is_search(wish)
        return chosen

    def _needs(self, teller: Teller) -> bool:
        return self._is_search(teller.waiting[0][1])

    def _is_search(self, wish: Wish) -> bool:
        return self._batch is None or wish.beams > 1

    # ------------------------------------------------------------ texts

    def _row_of(self, teller: Teller, place: int, wish: Wish) -> Row:
        is_drawn = is_sampling(wish.options)
        config = self._blip.language_model.generation_config
        ends = config.eos_token_id
        return Row(
            owner=teller.task.id,
            place=place,
            most=teller.limit,
            least=generation(wish.options, teller.limit)["min_new_tokens"],
            ends=frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends]),
            generator=torch.Generator().manual_seed(wish.seed) if is_drawn else None,
            warpers=warpers(wish.options, config.top_k),
            has_ended=self._has_line,
        )

    def _search_of(self, teller: Teller, place: int, wish: Wish, embeds: torch.Tensor) -> Search:
        several = {"num_return_sequences": wish.texts} if wish.texts > 1 else {}
        return Search(
            owner=teller.task.id,
            place=place,
            embeds=embeds,
            ids=self._prompts.ids(teller.words),
            arguments=generation(wish.options, teller.limit) | several,
            seed=wish.seed,
        )

    def _heard(self, rows: Sequence[Row], done: Sequence[Row]) -> dict[str, None]:
        for row in rows:
            teller = self._tellers[row.owner]
            if row in done:
                teller.hears(row.place, [self._text(row.ids)])
            else:
                teller.advances(row.place, len(row.ids))
        return dict.fromkeys(row.owner for row in rows)

    def _text(self, ids: Sequence[int]) -> str:
        return tidy(self._processor.tokenizer.decode(ids, skip_special_tokens=True))

    def _has_line(self, ids: Sequence[int]) -> bool:
        """Only the first line is shown: what comes after it need not be written."""
        decode = self._processor.tokenizer.decode
        return "\n" in decode(ids[-1:]) and "\n" in decode(ids, skip_special_tokens=True).lstrip()

    # ------------------------------------------------------------ what is told

    def _events(self, task_id: str) -> Iterator[EngineEvent]:
        teller = self._tellers[task_id]
        yield Step(task_id=task_id, step=teller.step, steps=teller.steps)
        if teller.lines is not None:
            del self._tellers[task_id]
            yield Over(task_id=task_id, finished=self._finished(teller))

    def _finished(self, teller: Teller) -> Finished:
        question = str(teller.task.options.get("question", ""))
        notes = question_notes(self._processor.tokenizer, question, is_demo=self._model.demo)
        return Finished(text="\n".join(teller.lines or ()), notes=notes, revision=self._form["revision"])

    @contextmanager
    def _charged(self, owners: Sequence[str], also: dict[str, float] | None = None) -> Iterator[None]:
        """What is done meanwhile is paid by the owners in equal parts, by as many as each has. `also`: an account that
        gets the same."""
        started = time.monotonic()
        try:
            yield
        finally:
            part = (time.monotonic() - started) / len(owners)
            for account in (self._used,) if also is None else (self._used, also):
                for owner in owners:
                    account[owner] = account.get(owner, 0.0) + part

    def _forget(self) -> None:
        self._searches.clear()
        if self._batch is not None:
            self._batch.clear()


def see(blip: Any, pixels: torch.Tensor) -> tuple[torch.Tensor]:
    """Query tokens as the language model reads them, (pictures, queries, its width)."""
    images = blip.vision_model(pixel_values=pixels).last_hidden_state
    queries = blip.query_tokens.expand(len(images), -1, -1)
    mask = torch.ones(images.shape[:-1], dtype=torch.long, device=images.device)
    found = blip.qformer(query_embeds=queries, encoder_hidden_states=images, encoder_attention_mask=mask)
    return (blip.language_projection(found.last_hidden_state.to(images.dtype)),)
