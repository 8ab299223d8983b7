"""Checks of what was compiled for models: whether it is used, does not fit any more, or would pay."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from adapters.cli.doctor.check import OK, WARN, Check
from adapters.cli.models.install import format_size
from adapters.cli.output import program_name
from bot.models import TORCH, ModelSpec
from bot.ports import BuildState
from bot.usecases.model_optimizing import format_of

if TYPE_CHECKING:
    from adapters.cli.ports import CompositionRoot, LoadedConfig

STALE = {
    "damaged": "it is damaged",
    "library": "{backend} has another version now",
    "processor": "it was made for another processor",
    "weights": "the model has other weights now",
}


def check_builds(composition: "CompositionRoot", loaded: "LoadedConfig") -> Iterator[Check]:
    states = composition.list_builds(loaded)
    yield from check_model_builds(composition, loaded, states)
    if states:
        size = format_size(sum(one.size_mb for one in states) * 2**20)
        yield Check("models", OK, f"What was compiled for models takes {size} in {loaded.data_dir / 'builds'}.")
    for state in states:
        if state.problem == "model":
            sentence = f"{state.model} is not configured any more: delete {loaded.data_dir / 'builds' / state.key}."
            yield Check("models", WARN, sentence)


def check_model_builds(
    composition: "CompositionRoot", loaded: "LoadedConfig", states: Sequence[BuildState]
) -> Iterator[Check]:
    """For each model on a backend, or with a build: what it runs on, and what to do about it."""
    for spec in loaded.models:
        yield from _check_model(composition, spec, [one for one in states if one.model == spec.name and not one.loras])


def describe_builds(composition: "CompositionRoot", loaded: "LoadedConfig") -> list[str]:
    return [check.sentence for check in check_model_builds(composition, loaded, composition.list_builds(loaded))]


def _check_model(composition: "CompositionRoot", spec: ModelSpec, states: Sequence[BuildState]) -> Iterator[Check]:
    """What to know about the builds of one model; nothing if it has none and needs none."""
    if spec.compile == "on" and not composition.has_compiler():
        sentence = f"{spec.name} runs uncompiled, because torch.compile needs a C++ compiler: install g++ or clang"
        yield Check("models", WARN, f'{sentence}, or set `compile` in its table to "off".')
    command = f"`{program_name()} models optimize {spec.name}"
    if spec.backend != TORCH:
        yield _check_backend(composition, spec, states, command)
        return
    fitting = [one for one in states if not one.problem and one.report is not None and one.report.is_better]
    best = max(fitting, key=lambda one: one.report.gain if one.report else 0.0, default=None)
    if best is not None and best.report is not None:
        option = "" if best.backend == "openvino" else f" --backend {best.backend}"
        option += "" if best.precision == format_of(spec) else f" --precision {best.precision}"
        sentence = (
            f"{spec.name} would be faster on {best.backend} (measured on this machine: {best.report.gain:.1f} times)"
        )
        yield Check("models", OK, f"{sentence}: {command}{option} --yes`.")
    elif states:
        sentence = f"{spec.name} runs on torch, and what was compiled for it is not used: {command} --delete-builds`."
        yield Check("models", OK, sentence)


def _check_backend(
    composition: "CompositionRoot", spec: ModelSpec, states: Sequence[BuildState], command: str
) -> Check:
    """Of a model whose setting names a backend."""
    own = [one for one in states if (one.backend, one.precision) == (spec.backend, format_of(spec))]
    used = next((one for one in own if not one.problem), None)
    if used is not None:
        gain = f" (measured on this machine: {used.report.gain:.1f} times as fast)" if used.report else ""
        return Check("models", OK, f"{spec.name} runs on {spec.backend}{gain}.")
    if not composition.library_version(spec.backend):
        install = f"`.venv/bin/uv pip install -e '.[{spec.backend}]'` in Easel's folder installs it"
        return Check("models", WARN, f"{spec.name} runs on torch, because {spec.backend} is not installed: {install}.")
    stale = next((STALE[one.problem] for one in own if one.problem in STALE), "")
    reason = f"its build is not used: {stale.format(backend=spec.backend)}" if stale else "it has no build here"
    options = "" if spec.backend == "openvino" else f" --backend {spec.backend}"
    return Check("models", WARN, f"{spec.name} runs on torch, because {reason}. {command}{options}` makes one.")
