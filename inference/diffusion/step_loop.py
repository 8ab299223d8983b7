"""The step loop: continuous batching of images through one denoiser, and through the control models beside it.

Calls of control models are made first, each in passes of its own, so that images with and without a control then share
the denoiser's pass. Only images that this pass may take call theirs, because what controls add is large: 100 MiB for an
image of SDXL.
Where several threads compute, a pass may be divided into parts that are computed at the same time (divided_pass.py); it
is one pass all the same: scheduled, limited, repeated and charged as one, by its duration.
A pass that runs out of memory is repeated with fewer rows, and later passes stay that small. No image is lost, because
a forward pass has no side effects.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from bot.cost_curve import CostPoint
from bot.errors import OutOfMemory
from bot.models import TORCH
from bot.ports import Measurement
from inference.diffusion.batching import BatchedModule
from inference.diffusion.divided_pass import PassThreads, divide_batch, is_divisible
from inference.diffusion.execution.denoiser_execution import DenoiserExecution
from inference.diffusion.lora import LoraManager, LoraSet
from inference.diffusion.pass_calls import is_plain, pending_call, prepare_call, split_outputs
from inference.diffusion.schedule_policy import (
    MAX_WAIT_PASSES,
    WaitingSequence,
    order_sequences,
    select_batch,
    take_within,
)
from inference.diffusion.sequence import ImageSequence
from inference.diffusion.tiling import set_tiling
from inference.engine.divided_costs import PASS, WHOLE, DividedPassCosts, PassChoice
from inference.engine.error_mapping import is_out_of_memory
from inference.engine.pass_counts import PassCounts
from inference.ipc import child

OnFailure = Callable[[ImageSequence, Exception], None]


class StepLoop:
    """Images that have started and are not yet decoded.

    Attributes:
        modules: those whose calls are made here, by component name: the denoiser, and control models.
        usage_s: device-seconds by task since the last `take_usage`.
        pass_counts: of its passes.
        max_rows: rows of one pass, at most; 0: the cost model decides.
    """

    def __init__(
        self,
        denoiser: str,
        modules: dict[str, BatchedModule],
        device: torch.device,
        loras: LoraManager,
        execution: DenoiserExecution | None = None,
    ) -> None:
        """
        Args:
            denoiser: its name among the modules; empty: the model's is not known.
            execution: how torch computes its calls; None: as it is.
        """
        self._denoiser = denoiser
        self.modules = modules
        self._device = device
        self._loras = loras
        self._execution = execution
        self._sequences: list[ImageSequence] = []
        self._threads = PassThreads(torch.get_num_threads() if device.type == "cpu" else 1)
        self._division = WHOLE
        """Of the pass that is being made."""
        self._cost_models: dict[tuple[str, str, str], DividedPassCosts] = {}
        """By component, backend and shape."""
        self._loaded_costs: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
        """By backend and shape."""
        self.usage_s: dict[str, float] = defaultdict(float)
        self.pass_counts = PassCounts()
        self.max_rows = 0
        self._passes_without_overdue = 0

    def __len__(self) -> int:
        return len(self._sequences)

    def close(self) -> None:
        """Free the compiled modules, and end the threads."""
        self._threads.close()
        for module in self.modules.values():
            if module.fused is not None:
                module.fused.close()
            if module.compiled is not None:
                module.compiled.close()

    def create_empty(self) -> "StepLoop":
        """Another with the same modules, whose passes teach this one no costs."""
        other = StepLoop(self._denoiser, self.modules, self._device, self._loras, self._execution)
        other._threads = self._threads
        return other

    def add_sequence(self, sequence: ImageSequence) -> None:
        self._sequences.append(sequence)

    def remove_sequence(self, sequence: ImageSequence) -> None:
        if sequence in self._sequences:
            self._sequences.remove(sequence)

    def take_usage(self) -> dict[str, float]:
        usage_s, self.usage_s = dict(self.usage_s), defaultdict(float)
        return usage_s

    @property
    def loras_in_use(self) -> frozenset[LoraSet]:
        return frozenset(sequence.loras for sequence in self._sequences)

    @contextmanager
    def charge_time(self, task_id: str) -> Iterator[None]:
        """Count the time of the block as the task's."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.usage_s[task_id] += time.monotonic() - started

    def load_costs(self, rates: Sequence[Measurement]) -> None:
        """Pass costs that earlier processes measured, by backend, shape, division and batch rows."""
        for rate in rates:
            if rate.what.partition(" ")[0] == PASS:
                self._loaded_costs[rate.backend, rate.shape].append(rate)

    @property
    def capabilities(self) -> Mapping[str, int]:
        """Only what differs from passes that all threads compute together."""
        parts = max((costs.usual_parts for costs in self._cost_models.values()), default=1)
        return {"pass_parts": parts} if parts > 1 else {}

    def cost_model(self, shape: str, backend: str = TORCH) -> DividedPassCosts | None:
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
        compiled_before = self._compile_count
        failed: Exception | None = None
        while True:
            started = time.monotonic()
            try:
                outputs = self._forward(batch)
                break
            except Exception as error:
                if self._leave_to_torch(batch, error):
                    failed = error
                    continue
                failed = None
                if len(batch) == 1:
                    self._drop_failed(batch[0], error, on_failure)
                    return []
                batch = self._smaller_batch(batch, error)
        if failed is not None:
            self._give_up_graph(batch[0], failed)
        self._charge(batch, time.monotonic() - started, is_typical=self._compile_count == compiled_before)
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
        ordered = order_sequences(_as_waiting(self._sequences), self._passes_without_overdue)
        shape = shape_key(by_id[ordered[0].id].task.options)
        alike = [one for one in ordered if shape_key(by_id[one.id].task.options) == shape]
        taken = take_within(alike, self._choose_pass(by_id[alike[0].id], alike, self._denoiser).size)
        due = (by_id[one.id] for one in taken)
        return [sequence for sequence in due if self._component_of(sequence) != self._denoiser]

    def _component_of(self, sequence: ImageSequence) -> str:
        """Name of the module that it calls next: the denoiser, or a control model."""
        call = sequence.pending_call
        return call.component if call is not None and call.component in self.modules else self._denoiser

    def _count_waiting(self, batch: Sequence[ImageSequence]) -> None:
        longest = max((sequence.passes_waited for sequence in self._sequences), default=0)
        is_served = longest < MAX_WAIT_PASSES or batch[0].passes_waited == longest
        self._passes_without_overdue = 0 if is_served else self._passes_without_overdue + 1
        for sequence in self._sequences:
            sequence.passes_waited += 1
        for sequence in batch:
            sequence.passes_waited = 0

    def _schedule(self, sequences: Sequence[ImageSequence]) -> list[ImageSequence]:
        by_id: dict[Hashable, ImageSequence] = {id(sequence): sequence for sequence in sequences}

        def max_tokens(candidates: Sequence[WaitingSequence]) -> int:
            first = by_id[candidates[0].id]
            choice = self._choose_pass(first, candidates, self._component_of(first))
            self._division = choice.division
            return choice.size

        selected = select_batch(_as_waiting(sequences), max_tokens, self._passes_without_overdue)
        return [by_id[one.id] for one in selected]

    def _choose_pass(self, first: ImageSequence, candidates: Sequence[WaitingSequence], component: str) -> PassChoice:
        """The next pass of this module with the first of these candidates, as costs and memory allow."""
        limit = sum(candidate.tokens for candidate in candidates)
        if self.max_rows:
            limit = min(limit, self.max_rows * max(1, first.tokens // first.rows))
        unit = max(candidate.tokens for candidate in candidates)
        may_divide = self._threads.threads > 1 and self._may_divide(first, component)
        return self._cost_model_for(first, component).choose(limit, unit, may_divide=may_divide)

    def _may_divide(self, sequence: ImageSequence, component: str) -> bool:
        """Whether several calls of the module can be made at the same time, by torch."""
        module = self.modules.get(component)
        backend = self._backend_of(sequence, component)
        is_plain = backend == TORCH and (self._execution is None or self._execution.compiled is None)
        return is_plain and component == self._denoiser and module is not None and is_divisible(module.module)

    def _cost_model_for(self, sequence: ImageSequence, component: str) -> DividedPassCosts:
        """Costs of passes of this module at the image's shape, by tokens."""
        shape = shape_key(sequence.task.options)
        key = (component, self._backend_of(sequence, component), shape)
        if key not in self._cost_models:
            row_tokens = sequence.tokens / sequence.rows
            loaded = self._loaded_costs.pop(key[1:], ()) if component == self._denoiser else ()
            points: dict[str, list[CostPoint]] = defaultdict(list)
            for rate in loaded:
                points[rate.what].append(CostPoint(rate.batch_size * row_tokens, rate.seconds))
            self._cost_models[key] = DividedPassCosts(self._threads.threads, points)
        return self._cost_models[key]

    def _backend_of(self, sequence: ImageSequence, component: str) -> str:
        """What makes the image's next pass of this module, or, while it waits for a control model, usually makes it."""
        module = self.modules.get(component)
        if module is None or component == self._component_of(sequence):
            return sequence.backend
        return module.usual_backend(sequence.loras)

    def _forward(self, batch: Sequence[ImageSequence]) -> list[Any]:
        """The output of the called module for each sequence."""
        component = self._component_of(batch[0])
        called, backend = self.modules.get(component), batch[0].backend
        module = called.module_for(backend, batch[0].loras) if called is not None else None
        if module is None:
            backend = TORCH
        if backend == TORCH and (component == self._denoiser or (called is not None and called.uses_denoiser)):
            self._loras.apply(batch[0].loras)
        if called is None:
            return [None for _ in batch]  # only suspended between steps: the pipeline calls its own modules
        module = module or called.module_for(TORCH)
        assert module is not None
        if backend == TORCH:
            set_tiling(module, pending_call(batch[0]).is_tiled)
        make_pass = partial(self._make_pass, called, module, batch)
        if component == self._denoiser and backend == TORCH and self._execution is not None:
            outputs = self._execution.run(make_pass, is_plain=is_plain(batch))
        else:
            outputs = make_pass()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "xpu":
            torch.xpu.synchronize(self._device)
        return outputs

    def _make_pass(self, called: BatchedModule, module: torch.nn.Module, batch: Sequence[ImageSequence]) -> list[Any]:
        """The module's output for each sequence. May be repeated: modules change no argument that a later call gets."""
        if len(batch) < self._division.parts:
            self._division = WHOLE
        if self._division == WHOLE:
            return split_outputs(called, prepare_call(called, module, batch)(), batch)
        parts = divide_batch(batch, self._division.parts)
        batches = [[batch[index] for index in part] for part in parts]
        calls = [prepare_call(called, module, part) for part in batches]
        outputs: dict[int, Any] = {}
        results = self._threads.run(calls, self._division.threads)
        for part, sequences, result in zip(parts, batches, results, strict=True):
            outputs |= zip(part, split_outputs(called, result, sequences), strict=True)
        return [outputs[index] for index in range(len(batch))]

    def _leave_to_torch(self, batch: Sequence[ImageSequence], error: Exception) -> bool:
        """Let torch make a pass that a compiled denoiser has failed; False: torch made it, or memory ran out."""
        if batch[0].backend == TORCH or is_out_of_memory(error):
            return False
        for sequence in batch:
            sequence.backend = TORCH
        return True

    def _give_up_graph(self, sequence: ImageSequence, error: Exception) -> None:
        """Torch has made what the compiled denoiser of this image's LoRAs has failed: it makes no more passes."""
        failed = self.modules[self._denoiser].graph_with(sequence.loras)
        if failed is not None:
            failed.give_up()
            child.log("warning", "A compiled denoiser has failed: torch serves from now on", error=str(error)[:500])

    def _smaller_batch(self, batch: list[ImageSequence], error: Exception) -> list[ImageSequence]:
        """The part of the batch to retry after the error: half of it when out of memory, which then limits all passes;
        else one sequence, and the others run unbatched, so only the faulty one fails."""
        if not is_out_of_memory(error) or isinstance(error, OutOfMemory):  # ours: weights have no room, for any batch
            for sequence in batch:
                sequence.batch_key = id(sequence)
            return batch[:1]
        error.__traceback__ = None  # its frames hold the tensors that did not fit
        half = batch[: len(batch) // 2]
        self.max_rows = max(1, sum(sequence.rows for sequence in half))
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return half

    def _charge(self, batch: Sequence[ImageSequence], seconds: float, *, is_typical: bool) -> None:
        """`is_typical`: nothing was compiled in this pass, so it costs what the next one does."""
        tokens = sum(sequence.tokens for sequence in batch)
        self.pass_counts.add(sum(sequence.rows for sequence in batch))
        for sequence in batch:
            self.usage_s[sequence.task.id] += seconds * sequence.tokens / tokens
        if is_typical:
            self._cost_model_for(batch[0], self._component_of(batch[0])).record_pass(tokens, seconds, self._division)

    @property
    def _compile_count(self) -> int:
        return self._execution.compile_count if self._execution is not None else 0

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
            is_new=sequence.is_new,
        )
        for sequence in sequences
    ]


def shape_key(options: Mapping[str, Any]) -> str:
    return "{width}x{height}".format_map(options)
