"""What both engines that answer in texts share: requests in flight, one step of all their texts, events and costs.

Each step decodes one token for every sequence in the batch, advances the current search, and starts new texts. Tasks
without a running text start first; further texts of a task only use sequences that are free.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic

import torch

from bot.models import ModelSpec
from bot.ports import Measurement, Task
from inference.engine.base import CostSample, EngineEvent, StepDone, TaskDone
from inference.engine.cost_model import PassCostModel
from inference.engine.pass_counts import PassCounts
from inference.ipc.messages import TaskResult
from inference.vision.beam_search import BeamSearch, BeamSearches
from inference.vision.decode_batch import DecodeBatch
from inference.vision.generation_plan import TextSpec
from inference.vision.sequence import TextSequence
from inference.vision.text_schedule import NewText, Request, UsageMeter, take_new_texts, text_samples


class TextEngine(ABC, Generic[Request]):
    """A subclass loads `_batch` (None: its model only generates one text after another) and `_searches`.

    Attributes:
        max_sequences: texts in the batch.
        max_new_per_step: texts that start in one step, for which all others wait.
    """

    max_sequences: ClassVar[int]
    max_new_per_step: ClassVar[int]
    _batch: DecodeBatch | None
    _searches: BeamSearches

    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self._capabilities: dict[str, Any] = {}
        self._max_sequences, self._max_new_per_step = self.max_sequences, self.max_new_per_step
        self._requests: dict[str, Request] = {}
        self._meter = UsageMeter()
        self._cost_model = PassCostModel()

    # ------------------------------------------------------------ what a subclass implements

    @abstractmethod
    def _decode_tokens(self, batch: DecodeBatch) -> dict[str, None]:
        """One token of each sequence; the tasks that advanced."""

    @abstractmethod
    def _advance_search(self) -> dict[str, None]:
        """One token of the current search; its task."""

    @abstractmethod
    def _prefill(self, new_texts: Sequence[NewText[Request]]) -> dict[str, None]:
        """Start these texts; the tasks of which a text has its first token."""

    @abstractmethod
    def _decode_answer(self, request: Request, token_ids: Sequence[int]) -> str:
        """The text so far."""

    @abstractmethod
    def _task_result(self, request: Request) -> TaskResult:
        """Of a request that is answered."""

    # ------------------------------------------------------------ the engine protocol

    @property
    def free_slots(self) -> int:
        return max(0, self._max_sequences - len(self._requests))

    @property
    def capabilities(self) -> Mapping[str, Any]:
        return self._capabilities

    @torch.inference_mode()
    def step(self) -> Sequence[EngineEvent]:
        try:
            return self._step()
        except BaseException:
            self._reset()  # the caches of a failed pass are inconsistent
            raise

    def cancel_task(self, task_id: str) -> None:
        self._meter.pop_prefill(task_id)
        if self._requests.pop(task_id, None) is not None:
            self._searches.cancel_task(task_id)
            if self._batch is not None:
                self._batch.remove_task(task_id)

    def set_previews(self, task_id: str, is_enabled: bool) -> None:
        """Text has no previews."""

    def take_usage(self) -> Mapping[str, float]:
        """Device-seconds by task since the last call. A decoding pass is split among its sequences; encoding an image
        and a prompt is charged to its own task."""
        return self._meter.take()

    @property
    def pass_counts(self) -> PassCounts:
        return self._meter.pass_counts

    def cost_samples(self, task: Task) -> Sequence[CostSample]:
        """Seconds of one token by batch size, and of the task's prefill."""
        sizes = [2**power for power in range(self.max_sequences.bit_length())]
        return text_samples(self._cost_model, sizes, self._meter.pop_prefill(task.id))

    def load_costs(self, measurements: Sequence[Measurement]) -> None:
        """Not needed: all running texts share each pass."""

    # ------------------------------------------------------------ one step

    def _step(self) -> list[EngineEvent]:
        advanced: dict[str, None] = {}
        if self._batch is not None and self._batch.sequences:
            advanced |= self._decode_tokens(self._batch)
        if self._searches.current is not None:
            advanced |= self._advance_search()
        if new_texts := self._take_new_texts():
            advanced |= self._prefill(new_texts)
        return [event for task_id in advanced for event in self._events_for(task_id)]

    def _take_new_texts(self) -> list[NewText[Request]]:
        """The texts that start in this step."""
        running = [sequence.task_id for sequence in self._batch.sequences] if self._batch is not None else []
        return take_new_texts(
            list(self._requests.values()),
            running,
            max_sequences=self._max_sequences,
            max_new=self._max_new_per_step,
            is_search=self._is_search,
            is_searching=self._searches.current is not None,
        )

    def _is_search(self, spec: TextSpec) -> bool:
        return self._batch is None or spec.num_beams > 1

    def _update_requests(self, sequences: Sequence[TextSequence], finished: Sequence[TextSequence]) -> dict[str, None]:
        for sequence in sequences:
            request = self._requests[sequence.task_id]
            text = self._decode_answer(request, sequence.token_ids)
            if sequence in finished:
                request.count_tokens(len(sequence.token_ids), is_cut=sequence.is_cut)
                request.on_text(sequence.index, [text])
            else:
                request.on_tokens(sequence.index, len(sequence.token_ids), text)
        return dict.fromkeys(sequence.task_id for sequence in sequences)

    def _finish_search(self, request: Request, search: BeamSearch) -> None:
        for token_ids in search.outputs:
            end = search.find_end(token_ids)
            is_cut = end is None and not self._is_complete(token_ids)
            request.count_tokens(len(token_ids) if end is None else end, is_cut=is_cut)
        request.on_text(search.index, [self._decode_answer(request, token_ids) for token_ids in search.outputs])

    def _is_complete(self, token_ids: Sequence[int]) -> bool:
        """Whether a text is complete, although nothing ended it."""
        return False

    def _events_for(self, task_id: str) -> Iterator[EngineEvent]:
        request = self._requests[task_id]
        yield StepDone(task_id=task_id, step=request.step, steps=request.steps, text=request.text)
        if request.lines is not None:
            del self._requests[task_id]
            yield TaskDone(task_id=task_id, result=self._task_result(request))

    def _reset(self) -> None:
        self._searches.clear()
        if self._batch is not None:
            self._batch.clear()
