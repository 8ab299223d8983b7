"""Why a model does not run on what its table asks for, and what to do about it. Translated like `bot.error_texts`."""

from collections.abc import Mapping

from bot.i18n import N_

BACKEND_PROBLEMS: Mapping[str, str] = {
    "not_installed": N_("{backend} is not installed: {install} in Easel's folder installs it."),
    "not_built": N_("Its {backend} build is missing: {optimize} makes one."),
    "library": N_("{backend} has another version now than its build was made with: {optimize} makes a new one."),
    "processor": N_("Its {backend} build was made for another processor: {optimize} makes a new one."),
    "form": N_("Its {backend} build was made by another version of Easel: {optimize} makes a new one."),
    "weights": N_("The model has other weights now than its {backend} build: {optimize} makes a new one."),
    "damaged": N_("Its {backend} build is damaged: {optimize} makes a new one."),
    "unopened": N_("Its {backend} build cannot be opened: {delete} deletes it, then {optimize} makes a new one."),
    "next_load": N_("It has an {backend} build that its next load uses: {unload} unloads it now."),
    "failed": N_(
        "Its {backend} build failed while it ran, and the log says why: {unload} lets the next job try it again."
    ),
    "not_here": N_("{backend} computes on the processor, and the model runs on another device: {torch} switches back."),
    "unsupported": N_("Its denoiser has no form for {backend}: {torch} switches back."),
    "refused": N_(
        "{backend} lacks the number format or the providers that the model's table names: change them there. "
        "{torch} switches back."
    ),
    "no_denoiser": N_("Only models that make pictures in steps run on {backend}: remove `backend` from its table."),
}
"""By the keys that loaded models report (`inference.diffusion.execution.compiled_denoiser`), those of
`BuildState.problem`, and three of `bot.usecases.model_execution`."""

COMPILE_PROBLEMS: Mapping[str, str] = {
    "no_blocks": N_('torch.compile finds no repeated blocks in it: set `compile` in its table to "off".'),
    "no_compiler": N_(
        'torch.compile needs a C++ compiler: install g++ or clang, or set `compile` in its table to "off".'
    ),
    "no_triton": N_(
        'torch.compile needs Triton on this device: install the package triton, or set `compile` in its table to "off".'
    ),
    "not_here": N_('torch.compile is not used on this device: set `compile` in its table to "off".'),
    "streamed": N_(
        "torch.compile is not used, because memory is short and the blocks of its denoiser are moved one by one."
    ),
    "has_backend": N_('torch.compile is not used beside a backend: set `compile` in its table to "off".'),
    "failed": N_('torch.compile failed, and the log says why: set `compile` in its table to "off".'),
}
"""By the keys of `inference.backends.regional_compile.REASONS`."""
