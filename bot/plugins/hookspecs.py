"""Everything that plugins can extend: the hooks, when each is called, and with what.

A plugin of the server (`ServerHooks`) runs in the parent process, which has no torch; a plugin of the worker
(`WorkerHooks`) runs in the child process of a device, between the steps of all its images. A plugin may have both: the
entry points `easel.plugins` and `easel.worker_plugins`, or a file `plugins/NAME.py` in the data directory.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from bot.plugins.hook_values import (
        AnswerText,
        ChatMessage,
        DeliveredJob,
        Panel,
        PendingRequest,
        PluginCommand,
        PluginContext,
        PromptText,
        Requester,
    )
    from bot.plugins.worker_facts import ImageFacts, TaskFacts

PROJECT = "easel"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class ServerHooks:
    """Hooks of the parent process: `def`, which runs in a thread, or `async def`.

    Plugins are called in the order of the config. Each call has the time limit `plugins.time_limit_s`; a hook that
    fails or takes longer has no effect, and the job says so. A hook names the arguments that it uses and leaves out
    the others.
    """

    @hookspec
    def easel_start(self, plugin: "PluginContext") -> None:
        """Called first, when the plugin is switched on. If it fails, the plugin stays off."""

    @hookspec
    def easel_stop(self, plugin: "PluginContext") -> None:
        """Called last, when the plugin is switched off or the server stops."""

    @hookspec
    def easel_accept(self, plugin: "PluginContext", request: "PendingRequest") -> "Mapping[str, Any] | None":
        """Called for each request, and for the question what it costs, before it is accepted.

        Returns options to change: a value, or None, which takes the option out. The price, the checks and the block
        list come after it. Raises `Refusal` with a sentence to refuse the request.
        """

    @hookspec
    def easel_prompt(self, plugin: "PluginContext", prompt: "PromptText") -> str | None:
        """Called for each different prompt of a job that draws, and for its negative prompt, before it is drawn.

        Returns another prompt, which the block list reads again; the job shows both.
        """

    @hookspec
    def easel_answer(self, plugin: "PluginContext", answer: "AnswerText") -> str | None:
        """Called with the text that a job answers, before it is stored. Returns another text, at most 4,000 characters,
        which is not used if the block list objects to it."""

    @hookspec
    def easel_deliver(self, plugin: "PluginContext", job: "DeliveredJob") -> None:
        """Called once for each job that people have received, for side effects; not repeated after a restart."""

    @hookspec
    def easel_commands(self, plugin: "PluginContext") -> "Sequence[PluginCommand] | None":
        """Called once, after `easel_start`. Returns the plugin's own commands."""

    @hookspec
    def easel_chat_reply(self, plugin: "PluginContext", message: "ChatMessage") -> str | None:
        """Called for a message to the bot that is no command. Returns the answer, which the block list reads; None: the
        next plugin, then Easel itself may answer."""

    @hookspec
    def easel_page_panels(self, plugin: "PluginContext", viewer: "Requester") -> "Sequence[Panel] | None":
        """Called when somebody looks at the page. Returns panels, as plain text."""

    @hookspec
    def easel_metrics(self, plugin: "PluginContext") -> "Mapping[str, float] | None":
        """Called for each reading of /metrics. Returns values by name, a to z, 0 to 9 and _: `hits` is the gauge
        `easel_plugin_NAME_hits`."""


class WorkerHooks:
    """Hooks of a device's child process, which has torch. They are plain functions, and take any of these parameters by
    name.

    They run in the one thread that computes all images of the device, so a slow hook slows every image. One that
    raises an exception, or returns what is not described here, has no effect on that image, whose result gets a note.
    One that takes longer than `plugins.time_limit_s` costs a restart of the process and is disabled.

    This module imports no torch: a plugin's file that has hooks of both sides imports it inside its worker's hooks.
    """

    @hookspec
    def easel_applies(self, plugin: "PluginContext", task: "TaskFacts") -> bool | None:
        """Whether the plugin's other hooks are called for this task; None, or without this hook: yes."""

    @hookspec
    def easel_model_loaded(self, plugin: "PluginContext", pipeline: Any, model: str) -> None:
        """A model that makes images was loaded, and none of its images has started.

        Args:
            pipeline: a Diffusers pipeline for text to image, on its device, in evaluation mode. What is changed of its
                components holds for all images of the model, until it is unloaded.
            model: its name in the config.
        """

    @hookspec
    def easel_before_generate(
        self, plugin: "PluginContext", image: "ImageFacts", arguments: "Mapping[str, Any]"
    ) -> "Mapping[str, Any] | None":
        """Before an image's pipeline is called; with `hires`, before each of its two calls.

        Args:
            arguments: of the pipeline's call, by Diffusers' names: `guidance_scale`, `prompt_embeds` (1, tokens, width)
                in the denoiser's dtype on its device, `image`, `strength`, ...

        Returns: the arguments to replace, or None. Only those that the pipeline takes; not the words, sizes and numbers
            of steps and images, which were checked and paid for: `easel_prompt` and `easel_accept` change those.
        """

    @hookspec
    def easel_step(self, plugin: "PluginContext", image: "ImageFacts", step: int, steps: int, latents: Any) -> Any:
        """After each denoising step of an image.

        Args:
            step: from 1 to `steps`.
            latents: a copy of the torch.Tensor in the pipeline's own layout, on its device: (1, channels, height / 8,
                width / 8) for Stable Diffusion and SDXL; (1, tokens, channels) for Flux and others that pack them.

        Returns: the latents to go on with, of the same shape, dtype and device, finite; None: unchanged.
        """

    @hookspec
    def easel_after_generate(self, plugin: "PluginContext", image: "ImageFacts", latents: Any) -> Any:
        """When the denoising of an image has ended, before it is decoded; with `hires`, after each of its two calls.

        Args:
            latents: as in `easel_step`, whose last call comes before this.

        Returns: the latents to decode, of the same shape, dtype and device, finite; None: unchanged.
        """

    @hookspec
    def easel_after_decode(self, plugin: "PluginContext", image: "ImageFacts", pixels: Any) -> Any:
        """A finished image of a job, before the safety check, whose verdict is about what the hook returns.

        It is called for images that were generated, upscaled or edited, by any engine; not for masks, maps and cutouts,
        and not for parts of a job.

        Args:
            pixels: a copy: RGB, numpy.ndarray of uint8, (height, width, 3).

        Returns: the image, of the same shape and dtype; None: unchanged.
        """
