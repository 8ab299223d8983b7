"""Runs the stock pipeline of each image in its coroutine: its variant, what is intercepted, and what extensions add."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from bot.errors import InvalidOption
from bot.models import IMAGE_TO_IMAGE, ModelSpec
from bot.ports import Task
from inference.diffusion.candidates import wait_for_choice
from inference.diffusion.coroutines import CallWrapper, InterceptedCalls, ModuleCall, suspend, with_proxies
from inference.diffusion.embedding_cache import EmbeddingCache
from inference.diffusion.expected_latents import StepRecord
from inference.diffusion.hires import first_task, second_task, wants_hires
from inference.diffusion.pipeline_call import CallChanges, generate
from inference.diffusion.pipeline_variants import FROM_IMAGE, WITH_MASK, pipeline_variant
from inference.diffusion.prompt_cache import Conditioning, PromptConditioner, prompt_swap_for
from inference.diffusion.samplers import Samplers
from inference.diffusion.sequence import ImageOutput, ImageSequence
from inference.diffusion.shared_component import SharedComponent

STEP_BOUNDARY = "step boundary"
"""Component name of the call that suspends a pipeline without a known denoiser after each step."""


@dataclass
class PipelineRun:
    """One image's run of a pipeline while it is prepared; extensions add to it.

    Attributes:
        pipeline: a stock pipeline; an extension may replace it with another that has the same components.
        denoiser: name of the component whose calls are the passes; empty: unknown.
        arguments: of the pipeline's call, by Diffusers' names. They replace those made from the task's options.
        methods: the intercepted methods by component name.
        overrides: other attributes of the run's copy of the pipeline.
        dtypes: what components that the pipeline may cast are in at its start, by name.
        denoiser_filters: change each call of the denoiser before it is batched, in this order. They run in the image's
            coroutine, so they may suspend it with calls of other components.
        wrappers: what the pipeline calls instead of intercepted methods, by component and method.
        is_divided: the denoiser's calls are made in parts, which have filters of their own.
        is_tiled: the convolutions of all intercepted components wrap around.
        changes: what plugins change of the pipeline's call.
        own_task: instead of the sequence's.
        proxied: the run's copy of the pipeline, which filters may read; None before the run starts.
    """

    sequence: ImageSequence
    pipeline: Any
    denoiser: str
    arguments: dict[str, Any] = field(default_factory=dict)
    methods: dict[str, tuple[str, ...]] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)
    denoiser_filters: list[Callable[[ModuleCall], ModuleCall]] = field(default_factory=list)
    wrappers: dict[str, dict[str, CallWrapper]] = field(default_factory=dict)
    is_divided: bool = False
    is_tiled: bool = False
    changes: CallChanges | None = None
    own_task: Task | None = None
    proxied: Any = None

    @property
    def task(self) -> Task:
        return self.own_task or self.sequence.task


class RunExtension:
    """A feature that adds arguments, intercepted components, overrides or filters to images' pipeline runs.

    By default each method does nothing.
    """

    def capabilities(self) -> Mapping[str, Any]:
        """What the loaded model can do by this feature."""
        return {}

    def adapt_task(self, task: Task) -> Task:
        """The task as the model can do it; before `check_task`, which gets the task as it was asked for."""
        return task

    def check_task(self, task: Task) -> Sequence[str]:
        """Notes for the task's result. Raises: InvalidOption: the loaded model cannot do what it asks for."""
        return ()

    def prepare(self, run: PipelineRun) -> None:
        """Add to a run; called in the image's coroutine before the pipeline. Raises: InvalidOption."""

    def close(self) -> None:
        """Free what it has loaded."""


class PipelineRunner:
    """Runs the pipelines of one loaded model.

    Attributes:
        pipelines: by kind: "" (as loaded), `FROM_IMAGE`, `WITH_MASK`; the others are made when first needed.
        device: where the pipelines compute; None until it is first needed, or after components have moved.
    """

    def __init__(
        self,
        model: ModelSpec,
        pipelines: dict[str, Any],
        denoiser: str,
        conditioner: PromptConditioner,
        vae: SharedComponent | None,
    ) -> None:
        self._model = model
        self.pipelines = pipelines
        self._denoiser = denoiser
        self._conditioner = conditioner
        self._vae = vae
        self.samplers = Samplers(pipelines[""].scheduler)
        self._embedding_cache = EmbeddingCache()
        self.extensions: list[RunExtension] = []
        self.device: torch.device | None = None

    def generate(self, sequence: ImageSequence) -> ImageOutput:
        """Runs in the sequence's greenlet."""
        conditioning = self._conditioner.conditioning_for(sequence.task, sequence.index)
        if not wants_hires(sequence.task):
            return self._run_pipeline(sequence, conditioning)
        asked, steps = sequence.task, int(sequence.task.options["steps"])
        sequence.task = first_task(asked)
        image, was_blanked = self._run_pipeline(sequence, conditioning, steps_after=steps)
        if was_blanked:
            return image, was_blanked
        sequence.task, sequence.pass_count = second_task(asked, image), 0
        return self._run_pipeline(sequence, conditioning, steps_before=sequence.step)

    def _run_pipeline(
        self, sequence: ImageSequence, conditioning: Conditioning, *, steps_before: int = 0, steps_after: int = 0
    ) -> ImageOutput:
        """One pipeline's run, with the steps of the image's other runs."""
        run = PipelineRun(sequence, self.pipeline_for(sequence.task), self._denoiser)
        self._conditioner.loras.apply(sequence.loras)
        self._intercept_calls(run)
        swap = prompt_swap_for(conditioning, run.overrides["scheduler"])
        if swap is not None:
            run.denoiser_filters.append(lambda call: swap.apply(call, sequence.pass_count))
        for extension in self.extensions:
            extension.prepare(run)
        run.proxied = with_proxies(run.pipeline, self._intercepted_calls(run))
        is_compared = sequence.is_compared and not steps_before and self._vae is not None
        record = StepRecord(run.overrides["scheduler"]) if is_compared else None

        def on_step(step: int, steps: int, latents: Any) -> None:
            sequence.record_step(steps_before + step, steps_before + steps + steps_after, latents)
            if record is not None:
                wait_for_choice(run.proxied, run.task, step, steps, record)
            if not self._denoiser:
                suspend(ModuleCall(STEP_BOUNDARY, "", (), {}))

        return generate(
            run.proxied, sequence.task, sequence.seed, on_step, conditioning.arguments,
            added_arguments=run.arguments, changes=run.changes,
        )  # fmt: skip

    def _intercept_calls(self, run: PipelineRun) -> None:
        """What every run has: its own scheduler, cached embeddings, and the calls of the denoiser and the VAE."""
        schedule = str(run.task.options.get("schedule", ""))
        run.overrides["scheduler"] = self.samplers.create_scheduler(sampler_name(run.task), schedule)
        loras = self._conditioner.loras.date(run.sequence.loras)
        run.overrides |= self._embedding_cache.cached_methods(run.pipeline, loras)
        if self._denoiser:
            run.methods[self._denoiser] = ("forward",)
        if self._vae is not None:
            run.methods["vae"], run.dtypes["vae"] = ("encode", "decode"), self._vae.loaded_dtype

    def _intercepted_calls(self, run: PipelineRun) -> InterceptedCalls:
        if self.device is None:
            self.device = self.pipelines[""]._execution_device
        filters = {run.denoiser: tuple(run.denoiser_filters)} if run.denoiser_filters else {}
        return InterceptedCalls(
            methods=run.methods,
            overrides=run.overrides,
            dtypes=run.dtypes,
            device=self.device,
            filters=filters,
            wrappers=run.wrappers,
            is_tiled=run.is_tiled,
        )

    def pipeline_for(self, task: Task) -> Any:
        """The text-to-image, image-to-image or inpainting pipeline."""
        roles = {image.role for image in task.images}
        from_image = WITH_MASK if WITH_MASK in roles else FROM_IMAGE
        return self.variant(from_image if task.task == IMAGE_TO_IMAGE else "")

    def variant(self, kind: str) -> Any:
        """The pipeline of this kind. Raises: InvalidOption: the model has none."""
        if kind not in self.pipelines:
            try:
                self.pipelines[kind] = pipeline_variant(self.pipelines[""], kind)
            except ValueError as error:  # Diffusers has no such pipeline for the family
                raise InvalidOption(kind, "model_lacks", value=self._model.name) from error
            self.pipelines[kind].set_progress_bar_config(disable=True)
        return self.pipelines[kind]

    def close(self) -> None:
        for extension in self.extensions:
            extension.close()


def sampler_name(task: Task) -> str:
    """The sampler it asks for; empty: the model's own."""
    return str(task.options.get("sampler", ""))
