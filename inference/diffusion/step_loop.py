"""The step loop: continuous batching of images through one denoiser, and through the control models beside it.

Calls of control models are made first, each in passes of its own, so that images with and without a control then share
the denoiser's pass. Only images that this pass may take call theirs, because what controls add is large: 100 MiB for an
image of SDXL.
A pass that runs out of memory is repeated with fewer rows, and later passes stay that small. No image is lost, because
a forward pass has no side effects.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from bot.cost_curve import CostPoint
from bot.ports import Measurement
from inference.diffusion.batching import TORCH, BatchedModule
from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.lora import LoraManager
from inference.diffusion.schedule_policy import WaitingSequence, order_sequences, select_batch, take_within
from inference.diffusion.sequence import ImageSequence
from inference.diffusion.tiling import set_tiling
from inference.engine.cost_model import PassCostModel
from inference.engine.error_mapping import is_out_of_memory

OnFailure = Callable[[ImageSequence, Exception], None]


class StepLoop:
    """Images that have started and are not yet decoded.

    Attributes:
        modules: those whose calls are made here, by component name: the denoiser, and control models.
        usage_s: device-seconds by task since the last `take_usage`.
        max_rows: rows of one pass, at most; 0: the cost model decides.
    """

    def __init__(
        self, denoiser: str, modules: dict[str, BatchedModule], device: torch.device, loras: LoraManager
    ) -> None:
        """`denoiser`: its name among the modules; empty: the model's is not known."""
        self._denoiser = denoiser
        self.modules = modules
        self._device = device
        self._loras = loras
        self._sequences: list[ImageSequence] = []
        self._cost_models: dict[tuple[str, str, str], PassCostModel] = {}
        """By component, backend and shape."""
        self._loaded_costs: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
        """By backend and shape."""
        self.usage_s: dict[str, float] = defaultdict(float)
        self.max_rows = 0

    def __len__(self) -> int:
        return len(self._sequences)

    def close(self) -> None:
        """Free the compiled modules."""
        for module in self.modules.values():
            if module.compiled is not None:
                module.compiled.close()

    def add_sequence(self, sequence: ImageSequence) -> None:
        self._sequences.append(sequence)

    def remove_sequence(self, sequence: ImageSequence) -> None:
        if sequence in self._sequences:
            self._sequences.remove(sequence)

    def take_usage(self) -> dict[str, float]:
        usage_s, self.usage_s = dict(self.usage_s), defaultdict(float)
        return usage_s

    @contextmanager
    def charge_time(self, task_id: str) -> Iterator[None]:
        """Count the time of the block as the task's."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.usage_s[task_id] += time.monotonic() - started

    def load_costs(self, rates: Sequence[Measurement]) -> None:
        """Pass costs that earlier processes measured, by backend, shape and batch rows."""
        for rate in rates:
            if rate.what == "pass":
                self._loaded_costs[rate.backend, rate.shape].append(rate)

    def cost_model(self, shape: str, backend: str = TORCH) -> PassCostModel | None:
        """Seconds of the denoiser's pass of this image shape by its tokens; None before the first."""
        return self._cost_models.get((self._denoiser, backend, shape))

    # ------------------------------------------------------------ one pass

    def run_pass(self, on_failure: OnFailure) -> list[ImageSequence]:
        """Make one pass for the scheduled batch, of a control model if one is waited for, else of the denoiser; returns
        its sequences, each at its next call or at its end.

        A sequence that fails is passed to `on_failure` and removed.
        """
        batch = self._schedule(self._due_for_control() or self._ready_for_denoiser())
        component = self._component_of(batch[0])
        while True:
            started = time.monotonic()
            try:
                outputs = self._forward(batch)
                break
            except Exception as error:
                if len(batch) == 1:
                    self._drop_failed(batch[0], error, on_failure)
                    return []
                batch = self._smaller_batch(batch, error)
        self._charge(batch, time.monotonic() - started)
        if component == self._denoiser:
            self._count_waiting(batch)
        return self._resume_sequences(batch, outputs, on_failure)

    @property
    def awaits_control(self) -> bool:
        """Whether the next pass is one of a control model."""
        return bool(self._due_for_control())

    def _ready_for_denoiser(self) -> list[ImageSequence]:
        return [sequence for sequence in self._sequences if self._component_of(sequence) == self._denoiser]

    def _due_for_control(self) -> list[ImageSequence]:
        """Those that wait for a control model and that the denoiser's next pass may take: the next one, and others of
        its shape."""
        if len(self._ready_for_denoiser()) == len(self._sequences):
            return []
        by_id: dict[Hashable, ImageSequence] = {id(sequence): sequence for sequence in self._sequences}
        ordered = order_sequences(_as_waiting(self._sequences))
        shape = shape_key(by_id[ordered[0].id].task.options)
        alike = [one for one in ordered if shape_key(by_id[one.id].task.options) == shape]
        taken = take_within(alike, self._max_tokens(by_id[alike[0].id], alike, self._denoiser))
        due = (by_id[one.id] for one in taken)
        return [sequence for sequence in due if self._component_of(sequence) != self._denoiser]

    def _component_of(self, sequence: ImageSequence) -> str:
        """Name of the module that it calls next: the denoiser, or a control model."""
        call = sequence.pending_call
        return call.component if call is not None and call.component in self.modules else self._denoiser

    def _count_waiting(self, batch: Sequence[ImageSequence]) -> None:
        for sequence in self._sequences:
            sequence.passes_waited += 1
        for sequence in batch:
            sequence.passes_waited = 0

    def _schedule(self, sequences: Sequence[ImageSequence]) -> list[ImageSequence]:
        by_id: dict[Hashable, ImageSequence] = {id(sequence): sequence for sequence in sequences}

        def max_tokens(candidates: Sequence[WaitingSequence]) -> int:
            first = by_id[candidates[0].id]
            return self._max_tokens(first, candidates, self._component_of(first))

        return [by_id[selected.id] for selected in select_batch(_as_waiting(sequences), max_tokens)]

    def _max_tokens(self, first: ImageSequence, candidates: Sequence[WaitingSequence], component: str) -> int:
        """Tokens of a pass of this module with the first of these candidates, as the cost model and memory allow."""
        limit = sum(candidate.tokens for candidate in candidates)
        if self.max_rows:
            limit = min(limit, self.max_rows * max(1, first.tokens // first.rows))
        return self._cost_model_for(first, component).best_size(
            limit, max(candidate.tokens for candidate in candidates)
        )

    def _cost_model_for(self, sequence: ImageSequence, component: str) -> PassCostModel:
        """Costs of passes of this module at the image's shape, by tokens."""
        shape = shape_key(sequence.task.options)
        key = (component, sequence.backend, shape)
        if key not in self._cost_models:
            row_tokens = sequence.tokens / sequence.rows
            loaded = self._loaded_costs.pop(key[1:], ()) if component == self._denoiser else ()
            points = (CostPoint(rate.batch_size * row_tokens, rate.seconds) for rate in loaded)
            self._cost_models[key] = PassCostModel(points)
        return self._cost_models[key]

    def _forward(self, batch: Sequence[ImageSequence]) -> list[Any]:
        """The output of the called module for each sequence."""
        component = self._component_of(batch[0])
        called, backend = self.modules.get(component), batch[0].backend
        if backend == TORCH and (component == self._denoiser or (called is not None and called.uses_denoiser)):
            self._loras.apply(batch[0].loras)
        if called is None:
            return [None for _ in batch]  # only suspended between steps: the pipeline calls its own modules
        module = called.module_for(backend)
        if backend == TORCH:
            set_tiling(module, _pending_call(batch[0]).is_tiled)
        if len(batch) == 1 or called.rule is None:
            outputs = [_pending_call(sequence).execute(module) for sequence in batch]
        else:
            merged = called.rule.merge_calls([sequence.call_arguments for sequence in batch])
            outputs = called.rule.split_output(module(**merged), [sequence.rows for sequence in batch])
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "xpu":
            torch.xpu.synchronize(self._device)
        return outputs

    def _smaller_batch(self, batch: list[ImageSequence], error: Exception) -> list[ImageSequence]:
        """The part of the batch to retry after the error: half of it when out of memory, which then limits all passes;
        else one sequence, and the others run unbatched, so only the faulty one fails."""
        if not is_out_of_memory(error):
            for sequence in batch:
                sequence.batch_key = id(sequence)
            return batch[:1]
        error.__traceback__ = None  # its frames hold the tensors that did not fit
        half = batch[: len(batch) // 2]
        self.max_rows = max(1, sum(sequence.rows for sequence in half))
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return half

    def _charge(self, batch: Sequence[ImageSequence], seconds: float) -> None:
        tokens = sum(sequence.tokens for sequence in batch)
        for sequence in batch:
            self.usage_s[sequence.task.id] += seconds * sequence.tokens / tokens
        self._cost_model_for(batch[0], self._component_of(batch[0])).record_pass(tokens, seconds)

    def _resume_sequences(
        self, batch: Sequence[ImageSequence], outputs: Sequence[Any], on_failure: OnFailure
    ) -> list[ImageSequence]:
        stepped = []
        for sequence, output in zip(batch, outputs, strict=True):
            if sequence.pending_call is None:
                continue  # another image of its task failed
            started = time.monotonic()
            try:
                sequence.resume(output)
                stepped.append(sequence)
            except Exception as error:  # only this image fails
                self._drop_failed(sequence, error, on_failure)
            finally:
                self.usage_s[sequence.task.id] += time.monotonic() - started
        return stepped

    def _drop_failed(self, sequence: ImageSequence, error: Exception, on_failure: OnFailure) -> None:
        self.remove_sequence(sequence)
        on_failure(sequence, error)


def _as_waiting(sequences: Sequence[ImageSequence]) -> list[WaitingSequence]:
    """For the scheduling policy; their ids are those of the objects."""
    return [
        WaitingSequence(
            id=id(sequence),
            owner=sequence.task.fairness_key or sequence.task.id,
            batch_key=sequence.batch_key,
            tokens=sequence.tokens,
            steps_left=sequence.steps_left,
            passes_waited=sequence.passes_waited,
            arrival=sequence.arrival,
        )
        for sequence in sequences
    ]


def _pending_call(sequence: ImageSequence) -> ModuleCall:
    assert sequence.pending_call is not None
    return sequence.pending_call


def shape_key(options: Mapping[str, Any]) -> str:
    return "{width}x{height}".format_map(options)
