"""Decodes finished latents in a separate thread, so denoising of other images does not wait for the VAE.

One thread with its own CUDA stream; small images that wait at the same time are batched. Not used with model offload,
where components evict each other from the device: there the caller decodes between two steps.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import torch

from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.decode_batching import batch_calls, unbatch_output
from inference.diffusion.sequence import ImageSequence


@dataclass(frozen=True)
class DecodeResult:
    """The output of a sequence's decode call or its error, and the device-seconds used."""

    sequence: ImageSequence
    output: Any
    error: Exception | None
    seconds: float


class DecodeThread:
    """Args:
    execute: makes a call.
    batchable_prefix: how many of these calls, from the first on, can be batched.
    threads: CPU threads to use; 0: torch's default.
    """

    def __init__(
        self,
        execute: Callable[[ModuleCall], Any],
        device: torch.device,
        *,
        batchable_prefix: Callable[[Sequence[ModuleCall]], int],
        threads: int = 0,
    ) -> None:
        self._execute = execute
        self._batchable_prefix = batchable_prefix
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._threads = threads
        self._batches: SimpleQueue[list[ImageSequence] | None] = SimpleQueue()
        self._unflushed: list[ImageSequence] = []
        self._results: SimpleQueue[DecodeResult] = SimpleQueue()
        self.pending = 0
        threading.Thread(target=self._run, name="decode", daemon=True).start()

    def submit(self, sequence: ImageSequence) -> None:
        """Queue the sequence's decode call; it starts at the next `flush`."""
        self.pending += 1
        self._unflushed.append(sequence)

    def flush(self) -> None:
        """Start decoding the queued sequences: those that finish in the same step can be batched."""
        if self._unflushed:
            if self._device.type == "cuda":
                torch.cuda.current_stream(self._device).synchronize()  # the latents must be complete
            self._batches.put(self._unflushed)
            self._unflushed = []

    def collect(self, wait_s: float = 0.0) -> list[DecodeResult]:
        """Finished decodes. `wait_s`: how long to wait for the first one, if any is pending."""
        results: list[DecodeResult] = []
        while self.pending:
            try:
                is_first = wait_s and not results
                results.append(self._results.get(timeout=wait_s) if is_first else self._results.get_nowait())
            except Empty:
                break
            self.pending -= 1
        return results

    def close(self) -> None:
        self.flush()
        self._batches.put(None)

    def _run(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        torch.get_num_threads()  # fixes it for this thread, before parts of a pass change it for theirs
        with torch.no_grad():
            while (waiting := self._batches.get()) is not None:
                while waiting:
                    self._decode_next_batch(waiting)
                del waiting

    def _decode_next_batch(self, waiting: list[ImageSequence]) -> None:
        """Remove the first sequence, and those that can be batched with it, and decode them."""
        calls: list[ModuleCall] = []
        for sequence in waiting:
            if sequence.pending_call is None:  # cancelled while it waited
                break
            calls.append(sequence.pending_call)
        count = self._batchable_prefix(calls) if calls else 1
        batch, waiting[:] = waiting[:count], waiting[count:]
        for result in self._decode(batch, calls[:count]):
            self._results.put(result)

    def _decode(self, sequences: Sequence[ImageSequence], calls: Sequence[ModuleCall]) -> list[DecodeResult]:
        started = time.monotonic()
        if not calls:
            return [DecodeResult(sequence, None, None, 0.0) for sequence in sequences]
        try:
            outputs = [self._on_own_stream(calls[0])] if len(calls) == 1 else self._decode_batched(calls)
        except Exception as error:
            if len(calls) > 1:  # one is faulty, or together they need too much memory: retry one by one
                error.__traceback__ = None  # its frames hold the tensors that did not fit
                alone = zip(sequences, calls, strict=True)
                return [result for sequence, call in alone for result in self._decode([sequence], [call])]
            return [DecodeResult(sequences[0], None, error, time.monotonic() - started)]
        each_s = (time.monotonic() - started) / len(calls)
        return [
            DecodeResult(sequence, output, None, each_s) for sequence, output in zip(sequences, outputs, strict=True)
        ]

    def _decode_batched(self, calls: Sequence[ModuleCall]) -> list[Any]:
        return unbatch_output(self._on_own_stream(batch_calls(calls)), calls)

    def _on_own_stream(self, call: ModuleCall) -> Any:
        if self._stream is None:
            return self._execute(call)
        with torch.cuda.stream(self._stream):
            output = self._execute(call)
        self._stream.synchronize()
        return output
