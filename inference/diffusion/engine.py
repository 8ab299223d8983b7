"""The diffusion engine: many images in flight, batched step by step.

Each image, including each of several in one task, is a stock pipeline suspended at its denoiser calls (coroutines.py).
Compatible calls share a forward pass (step_loop.py); finished latents are decoded in a separate thread
(decode_thread.py). Each image therefore equals what its seed gives alone, to within one 8-bit level,
or a few in bfloat16.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from bot.error_texts import PICTURE_BLANKED
from bot.models import ModelSpec
from bot.ports import Measurement, Task
from inference.backends.regional_compile import STREAMED
from inference.checkpoints.resolve import model_path
from inference.diffusion.batching import BatchedModule, batching_rule_for
from inference.diffusion.candidates import CHOICE, WaitingRows
from inference.diffusion.coroutines import ModuleCall, SplitCall
from inference.diffusion.decode_batching import batchable_prefix
from inference.diffusion.decode_thread import DecodeResult, DecodeThread
from inference.diffusion.execution.compiled_denoiser import find_denoiser, open_denoiser
from inference.diffusion.execution.denoiser_execution import DenoiserExecution, create_execution
from inference.diffusion.execution.fused_denoisers import FusedDenoisers
from inference.diffusion.execution.kernel_trial import try_execution
from inference.diffusion.image_painter import ImagePainter
from inference.diffusion.image_task import ImageTask, to_raw_image
from inference.diffusion.loader import call_parameters, denoiser_name, load_pipeline, load_tiny_autoencoder
from inference.diffusion.lora import LoraManager, requested_loras
from inference.diffusion.masks import mask_notes
from inference.diffusion.pass_costs import pass_cost_samples
from inference.diffusion.pipeline_call import SEED_COUNT
from inference.diffusion.pipeline_capabilities import MAX_TASKS, describe_pipeline
from inference.diffusion.pipeline_run import STEP_BOUNDARY, PipelineRunner, sampler_name
from inference.diffusion.plugin_hooks import PluginHooks
from inference.diffusion.prefix_caches import empty_cache, max_references, select_startable
from inference.diffusion.previews import Previewer, preview_decoder
from inference.diffusion.prompt_cache import PromptConditioner
from inference.diffusion.run_extensions import create_extensions
from inference.diffusion.sequence import ImageOutput, ImageSequence
from inference.diffusion.shared_component import SharedComponent
from inference.diffusion.split_sequences import SplitSequences
from inference.diffusion.step_loop import StepLoop
from inference.engine.base import CostSample, EngineEvent, ImageReady, TaskDone, TaskFailed
from inference.engine.pass_counts import PassCounts
from inference.engine.plugins.plugin_host import PluginHost
from inference.ipc.messages import TaskResult
from inference.memory.offload import offloader_of, uses_model_offload
from inference.memory.precision import dtype_name

DECODE_WAIT_S = 0.05
"""How long one step waits for a decode if there is no denoising to do; new tasks and cancellations come in between."""
_LOADED = (
    *("_step_loop", "_split_sequences", "_waiting_rows", "_runner", "_conditioner", "_decode_thread", "_vae"),
    "_preview_decoder",
)


class DiffusionEngine:
    def __init__(self, model: ModelSpec) -> None:
        self._model = model
        self.plugins = PluginHost()
        self._pipelines: dict[str, Any] = {}
        self._capabilities: dict[str, Any] = {}
        self._tasks: dict[str, ImageTask] = {}
        self._new_sequences: list[ImageSequence] = []
        self._arrivals = itertools.count()
        self._events: list[EngineEvent] = []
        self._execution: DenoiserExecution | None = None
        self._fused: FusedDenoisers | None = None
        self._trial_samples: list[CostSample] | None = None
        """None: nothing was tried yet."""
        self._last_sequences: dict[str, ImageSequence] = {}
        """The last image of each task that ended in the last step."""

    @property
    def free_slots(self) -> int:
        return max(0, int(self._capabilities.get("rows", MAX_TASKS)) - len(self._tasks))

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What computes the denoiser's calls changes while it is loaded: trials choose, and what fails is given up."""
        if self._execution is None:
            return self._capabilities
        return {**self._capabilities, **self._step_loop.capabilities, **self._execution.capabilities}

    def load_model(self, device: str) -> None:
        folder = model_path(self._model)
        found = find_denoiser(self._model, device)
        pipeline = load_pipeline(found.model, folder, device)
        self._pipelines = {"": pipeline}
        self._conditioner = PromptConditioner(pipeline, LoraManager(pipeline))
        vae = getattr(pipeline, "vae", None)
        self._vae = SharedComponent(vae) if vae is not None else None
        self._preview_decoder = preview_decoder(pipeline, folder, load_tiny_autoencoder(self._model, device), self._vae)
        self._denoiser = denoiser_name(pipeline)
        denoiser = getattr(pipeline, self._denoiser) if self._denoiser else None
        self._runner = PipelineRunner(self._model, self._pipelines, self._denoiser, self._conditioner, self._vae)
        opened = open_denoiser(found, folder, pipeline, self._denoiser, device)
        modules = {}
        if denoiser is not None:
            if opened.compiled is not None:
                self._fused = FusedDenoisers(self._model, found, opened.compiled)
            rule = batching_rule_for(denoiser)
            batched = BatchedModule(denoiser, rule, compiled=opened.compiled, fused=self._fused)
            modules, self._conditioner.loras.before_use = {self._denoiser: batched}, batched.restore_weights
            self._execution = create_execution(self._model, self._denoiser, pipeline, device, opened)
        step_device, self._max_references = torch.device(device), max_references(pipeline)
        self._step_loop = StepLoop(self._denoiser, modules, step_device, self._conditioner.loras, self._execution)
        self._split_sequences = SplitSequences(self._step_loop, self._advance, self._fail_task)
        self._waiting_rows = WaitingRows(self._tasks, self._close_sequence, self._run_on)
        self._plugin_hooks = PluginHooks(self.plugins, self._runner)
        self._runner.extensions += create_extensions(
            self._model, self._runner, self._denoiser, self._conditioner, self._step_loop.modules, self._plugin_hooks
        )
        self._decode_thread = (
            None
            if uses_model_offload(pipeline)
            else DecodeThread(self._execute, step_device, batchable_prefix=partial(batchable_prefix, vae))
        )
        precision = opened.precision or dtype_name(getattr(denoiser, "dtype", pipeline.dtype))
        self._capabilities = {
            **describe_pipeline(self._model, folder, pipeline),
            "samplers": list(self._runner.samplers.names),
            "dtype": precision,
            "backend": opened.backend,
            **({"backend_problem": opened.problem} if opened.problem else {}),
        }
        for extension in self._runner.extensions:
            self._capabilities |= extension.capabilities()
        self._capabilities["options"] += self._capabilities["row_options"]
        self.plugins.model_loaded(self._model.name, pipeline)

    def load_costs(self, measurements: Sequence[Measurement]) -> None:
        self._step_loop.load_costs(measurements)
        if self._execution is not None:
            self._execution.load_choices(measurements)

    def add_task(self, task: Task) -> None:
        self._runner.samplers.resolve_name(sampler_name(task))
        notes: list[str] = []
        for extension in self._runner.extensions:
            notes += extension.check_task(task)
            task = extension.adapt_task(task)
        running = ImageTask(task, task.wants_previews, notes=notes)
        running.notes += [*mask_notes(task), *self._conditioner.prompt_notes(task, is_demo=self._model.demo)]
        running.sequences += [self._new_sequence(task, index) for index in range(int(task.options.get("count", 1)))]
        self._tasks[task.id] = running
        self._new_sequences += running.sequences

    def _new_sequence(self, task: Task, index: int = 0, *, has_plugins: bool = True) -> ImageSequence:
        return ImageSequence(
            task=task,
            index=index,
            seed=(int(task.options["seed"]) + index) % SEED_COUNT,
            arrival=next(self._arrivals),
            previewer=Previewer(self._preview_decoder, time.monotonic),
            denoiser=self._denoiser,
            loras=requested_loras(task, index),
            plugins=self.plugins.changes_tensors(task.id) if has_plugins else (),
            is_compared=self._waiting_rows.can_compare(task, self._max_references),
        )

    def step(self) -> Sequence[EngineEvent]:
        self._last_sequences.clear()
        with torch.no_grad():
            self._try_execution()
            self._start_new_sequences()
            self._collect_decoded(0.0 if len(self._step_loop) else DECODE_WAIT_S)
            if len(self._step_loop):
                self._run_passes()
            if self._decode_thread is not None:
                self._decode_thread.flush()
            self._report_steps()
        events, self._events = self._events, []
        return events

    def _try_execution(self) -> None:
        """In a trial, before its first step: find what computes passes quickest here. Its own image then uses it."""
        trial = next((one.task for one in self._tasks.values() if one.task.is_trial), None)
        if trial is None or self._trial_samples is not None or self._execution is None:
            return
        painter = ImagePainter(self._runner, self._step_loop.create_empty(), self._execute, self._new_sequence)
        self._trial_samples = try_execution(self._execution, partial(painter.paint, trial))

    def _run_passes(self) -> None:
        """The passes of control models that images wait for, then one of the denoiser."""
        while self._step_loop.awaits_control:
            for sequence in self._step_loop.run_pass(self._fail_task):
                self._advance(sequence)
        if len(self._step_loop):
            for sequence in self._step_loop.run_pass(self._fail_task):
                self._count_step(sequence)
                self._advance(sequence)

    def take_usage(self) -> Mapping[str, float]:
        return self._step_loop.take_usage()

    @property
    def pass_counts(self) -> PassCounts:
        return self._step_loop.pass_counts

    def cost_samples(self, task: Task) -> Sequence[CostSample]:
        sequence = self._last_sequences.get(task.id)
        measured = [] if sequence is None else list(pass_cost_samples(self._step_loop, sequence, task))
        return [*measured, *(self._trial_samples or [])] if task.is_trial else measured

    def cancel_task(self, task_id: str) -> None:
        running = self._tasks.pop(task_id, None)
        self._waiting_rows.forget(task_id)
        for sequence in running.sequences if running is not None else ():
            self._close_sequence(sequence)

    @torch.no_grad()
    def keep_rows(self, task_id: str, step: int, kept: Sequence[int]) -> None:
        self._waiting_rows.keep(task_id, step, kept)

    def _close_sequence(self, sequence: ImageSequence) -> None:
        self._step_loop.remove_sequence(sequence)
        self._split_sequences.close(sequence)
        if sequence in self._new_sequences:
            self._new_sequences.remove(sequence)
        empty_cache(sequence.call_arguments)
        sequence.close()

    def set_previews(self, task_id: str, is_enabled: bool) -> None:
        if task_id in self._tasks:
            self._tasks[task_id].has_previews = is_enabled

    def reduce_memory(self) -> str | None:
        offloader = offloader_of(self._pipelines[""])
        if self._decode_thread is not None:
            self._decode_thread.flush()
        with torch.no_grad():
            while self._decode_thread is not None and self._decode_thread.pending:
                self._collect_decoded(DECODE_WAIT_S)  # modules must not move while they compute
        level = offloader.use_less_memory() if offloader is not None else None
        if self._execution is not None and offloader is not None and offloader.moves(self._denoiser):
            self._execution.block_compiling(STREAMED)
        self._runner.device = None
        self._max_references = max_references(self._pipelines[""])
        if self._decode_thread is not None and uses_model_offload(self._pipelines[""]):
            self._decode_thread.close()
            self._decode_thread = None
        return level

    def unload_model(self) -> None:
        for task_id in list(self._tasks):
            self.cancel_task(task_id)
        if self._pipelines and self._decode_thread is not None:
            self._decode_thread.close()
        if "_runner" in self.__dict__:
            self._runner.close()
        if "_step_loop" in self.__dict__:
            self._step_loop.close()
        if self._execution is not None:
            self._execution.stop_compiling()
        self._execution = self._fused = None
        self._pipelines.clear()
        for name in _LOADED:
            self.__dict__.pop(name, None)

    # ------------------------------------------------------------ one image from start to end

    def _start_new_sequences(self) -> None:
        """Run new images up to their first pass: their prompts and input images are encoded."""
        unfinished = [sequence for running in self._tasks.values() for sequence in running.sequences]
        new = select_startable(self._new_sequences, unfinished, self._max_references)
        self._new_sequences = [sequence for sequence in self._new_sequences if sequence not in new]
        warm_up_started = time.monotonic()
        self._conditioner.warm_up([(sequence.task, sequence.index) for sequence in new])
        warm_up_share_s = (time.monotonic() - warm_up_started) / max(1, len(new))
        for sequence in new:
            self._step_loop.usage_s[sequence.task.id] += warm_up_share_s
            if self._fused is not None:
                self._fused.prepare(sequence.loras, self._step_loop.loras_in_use)
            if self._run(sequence, partial(sequence.start, self._runner.generate, self._step_loop.modules)):
                self._step_loop.add_sequence(sequence)
                self._advance(sequence)

    def _run(self, sequence: ImageSequence, function: Callable[[], None]) -> bool:
        """Whether it succeeded. The task is charged its time, and ends if it failed."""
        try:
            with self._step_loop.charge_time(sequence.task.id):
                function()
        except Exception as error:  # only this image fails
            self._fail_task(sequence, error)
            return False
        return True

    def _advance(self, sequence: ImageSequence) -> None:
        """Run it to its next call of the denoiser or of a control model, to its decode, or to its end."""
        modules = self._step_loop.modules
        while sequence.pending_call is not None and sequence.pending_call.component not in modules:
            if isinstance(sequence.pending_call, SplitCall):
                self._split_sequences.start(sequence)
                return
            if sequence.pending_call.method == "decode" and self._decode_thread is not None:
                self._step_loop.remove_sequence(sequence)
                self._decode_thread.submit(sequence)
                return
            if sequence.pending_call.component == STEP_BOUNDARY:
                return
            if sequence.pending_call.component == CHOICE:
                self._step_loop.remove_sequence(sequence)
                self._events += self._waiting_rows.add(sequence)
                return
            self._execute_pending(sequence)
        if sequence.output is not None:
            self._step_loop.remove_sequence(sequence)
            if sequence.whole is not None:
                self._split_sequences.finish_part(sequence)
            else:
                self._finish_sequence(sequence, sequence.output)

    def _count_step(self, sequence: ImageSequence) -> None:
        """Record the step of a pipeline that has no step callback."""
        if "callback_on_step_end" not in call_parameters(self._runner.pipeline_for(sequence.task)):
            steps = max(sequence.step + 1, int(sequence.task.options["steps"]))
            sequence.record_step(sequence.step + 1, steps, None)

    def _execute_pending(self, sequence: ImageSequence) -> None:
        """Make its pending call now, unbatched."""
        call = sequence.pending_call
        assert call is not None
        if not self._run(sequence, lambda: sequence.resume(self._execute(call))):
            self._step_loop.remove_sequence(sequence)

    def _collect_decoded(self, wait_s: float = 0.0) -> None:
        if self._decode_thread is None:
            return
        for result in self._decode_thread.collect(wait_s):
            self._on_decoded(result)

    def _on_decoded(self, result: DecodeResult) -> None:
        sequence = result.sequence
        if sequence.pending_call is None:
            return  # cancelled meanwhile
        self._step_loop.usage_s[sequence.task.id] += result.seconds
        if result.error is not None:
            resume = partial(sequence.throw, result.error)
        else:
            resume = partial(sequence.resume, result.output)
        self._run_on(sequence, resume)

    def _run_on(self, sequence: ImageSequence, resume: Callable[[], None]) -> None:
        """Resume one that has left the step loop: it may go on with passes, such as those of hires fix."""
        if self._run(sequence, resume):
            self._advance(sequence)
            call = sequence.pending_call
            if call is not None and (call.component in self._step_loop.modules or call.component == STEP_BOUNDARY):
                self._step_loop.add_sequence(sequence)

    def _execute(self, call: ModuleCall) -> Any:
        """Make a call that is not a denoiser pass."""
        assert self._vae is not None
        return self._vae.execute(call)

    def _finish_sequence(self, sequence: ImageSequence, output: ImageOutput) -> None:
        running = self._tasks.get(sequence.task.id)
        if running is None:
            return  # another of its images failed in the same pass
        running.finish(sequence)
        pixels, was_blanked = output
        if was_blanked and PICTURE_BLANKED not in running.notes:
            running.notes.append(PICTURE_BLANKED)
        sampler, revision = self._runner.samplers.default, self._capabilities["revision"]
        image = to_raw_image(sequence, pixels, was_blanked, sampler, revision)
        self._events.append(ImageReady(task_id=sequence.task.id, image=image))
        if not running.sequences:
            del self._tasks[sequence.task.id]
            self._last_sequences[sequence.task.id] = sequence
            result = TaskResult(notes=tuple(running.notes), revision=revision)
            self._events.append(TaskDone(task_id=sequence.task.id, result=result))

    def _fail_task(self, sequence: ImageSequence, error: Exception) -> None:
        """One failed image ends its task, unless it can be made without the plugins that have changed it."""
        if sequence.task.id not in self._tasks:
            return  # another of its images failed first
        whole = sequence.whole or sequence
        if self._plugin_hooks.may_repeat(whole, error):
            self._close_sequence(whole)
            again = self._new_sequence(self._tasks[whole.task.id].task, whole.index, has_plugins=False)
            self._tasks[whole.task.id].start_again(whole, again)
            self._new_sequences.append(again)
            return
        self.cancel_task(sequence.task.id)
        self._events.append(TaskFailed(task_id=sequence.task.id, error=error))

    # ------------------------------------------------------------ events

    def _report_steps(self) -> None:
        """One event for each task in flight that has advanced."""
        reports = [running.take_report() for running in self._tasks.values()]
        self._events = [*(report for report in reports if report is not None), *self._events]
