"""Lets plugins change the arguments of an image's pipeline and its latents after each step.

Each image has a pipeline of its own, so a change reaches no other image. Images to which different plugins with such
hooks apply share no pass all the same: what a plugin adds to a call may not be what its batch can hold.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy
import torch
from PIL import Image

from bot.plugins.worker_facts import ImageFacts
from bot.ports import Task
from inference.diffusion.loader import call_parameters
from inference.diffusion.pipeline_call import CallChanges
from inference.diffusion.pipeline_run import PipelineRun, PipelineRunner, RunExtension
from inference.diffusion.sequence import ImageSequence
from inference.engine.error_mapping import is_out_of_memory
from inference.engine.plugins.plugin_host import PluginHost
from inference.engine.plugins.plugin_loading import PluginMistake

BEFORE_GENERATE, STEP, AFTER_GENERATE = "easel_before_generate", "easel_step", "easel_after_generate"
_WORDS = re.compile(r"(negative_)?prompt(_\d)?")
_OURS = frozenset(
    (
        *("width", "height", "num_inference_steps", "num_images_per_prompt", "output_type", "return_dict", "generator"),
        *("timesteps", "sigmas"),
        *("callback_on_step_end", "callback_on_step_end_tensor_inputs"),
    )
)
"""Arguments that were paid for, or that Easel needs as they are."""


class PluginHooks(RunExtension):
    """Comes after the other features, whose arguments plugins then see."""

    def __init__(self, plugins: PluginHost, runner: PipelineRunner) -> None:
        self._plugins = plugins
        self._runner = runner

    def check_task(self, task: Task) -> Sequence[str]:
        for hook in (STEP, AFTER_GENERATE):
            names = self._plugins.plugins_with(task.id, hook)
            if names and "callback_on_step_end" not in call_parameters(self._runner.pipeline_for(task)):
                problem = PluginMistake(f"{task.model.name} has no steps that {hook} can change.")
                self._plugins.blame(task.id, names, hook, problem)
        return ()

    def prepare(self, run: PipelineRun) -> None:
        if run.sequence.plugins:
            run.changes = CallChanges(partial(self._adapt_arguments, run), partial(self._adapt_latents, run))

    def may_repeat(self, sequence: ImageSequence, error: Exception) -> bool:
        """Whether the failed image is made once more without plugins, because they have changed it. Reports them."""
        changed, sequence.changed_by = sequence.changed_by, {}
        if not changed or is_out_of_memory(error):
            return False
        for name, hook in changed.items():
            self._plugins.blame(sequence.task.id, [name], hook, error)
        return True

    def _adapt_arguments(
        self, run: PipelineRun, arguments: dict[str, Any], accepted: Collection[str]
    ) -> dict[str, Any]:
        def check(given: Mapping[str, Any], returned: Any) -> Mapping[str, Any]:
            return {**given, **_check_arguments(returned, accepted)}

        shown = {name: value for name, value in arguments.items() if name not in _OURS}
        image = _facts(self._plugins, run.sequence)
        changed, names = self._plugins.change(
            run.sequence.task.id,
            BEFORE_GENERATE,
            shown,
            check,
            lambda value: {"image": image, "arguments": {name: _copy(one) for name, one in value.items()}},
        )
        run.sequence.changed_by |= dict.fromkeys(names, BEFORE_GENERATE)
        return {**arguments, **changed}

    def _adapt_latents(self, run: PipelineRun, step: int, steps: int, latents: Any) -> Any:
        if not isinstance(latents, torch.Tensor):
            return latents
        latents = self._change_latents(run, STEP, latents, {"step": step, "steps": steps})
        return latents if step < steps else self._change_latents(run, AFTER_GENERATE, latents, {})

    def _change_latents(self, run: PipelineRun, hook: str, latents: torch.Tensor, facts: Mapping[str, Any]) -> Any:
        image = _facts(self._plugins, run.sequence)
        changed, names = self._plugins.change(
            run.sequence.task.id,
            hook,
            latents,
            partial(_check_latents, hook),
            lambda value: {"image": image, "latents": value.clone(), **facts},
        )
        run.sequence.changed_by |= dict.fromkeys(names, hook)
        return changed


def _facts(plugins: PluginHost, sequence: ImageSequence) -> ImageFacts:
    facts = plugins.facts_of(sequence.task.id)
    assert facts is not None
    return ImageFacts(task=facts, index=sequence.index, seed=sequence.seed)


def _check_arguments(returned: Any, accepted: Collection[str]) -> Mapping[str, Any]:
    if not isinstance(returned, Mapping):
        raise PluginMistake(f"{BEFORE_GENERATE} must return a dict or None, not {type(returned).__name__}.")
    for name in returned:
        if name in _OURS or _WORDS.fullmatch(str(name)):
            raise PluginMistake(f"{BEFORE_GENERATE} cannot change {name}: easel_prompt and easel_accept can.")
        if name not in accepted:
            raise PluginMistake(f"This model's pipeline takes no argument {name}.")
    return returned


def _check_latents(hook: str, latents: torch.Tensor, returned: Any) -> torch.Tensor:
    if not isinstance(returned, torch.Tensor):
        raise PluginMistake(f"{hook} must return a torch.Tensor or None, not {type(returned).__name__}.")
    if (returned.shape, returned.dtype, returned.device) != (latents.shape, latents.dtype, latents.device):
        found, right = (f"{one.dtype} {tuple(one.shape)} on {one.device}" for one in (returned, latents))
        raise PluginMistake(f"{hook} returned {found}, but the latents are {right}.")
    if not bool(torch.isfinite(returned).all()):
        raise PluginMistake(f"{hook} returned values that are not finite.")
    return returned.detach()


def _copy(value: Any) -> Any:
    """Tensors are those of a cache that other images use."""
    match value:
        case torch.Tensor():
            return value.clone()
        case Image.Image() | numpy.ndarray():
            return value.copy()
        case list() | tuple():
            return type(value)([_copy(one) for one in value])
        case dict():
            return {name: _copy(one) for name, one in value.items()}
    return value
