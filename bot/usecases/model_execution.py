"""What models run on, for their owners: backend, number format, kernels, and why something configured does not run.

A loaded model reports most of it (`ModelSpec.capabilities`); the builds on the disk say what its next load will use.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.i18n import N_, Translate
from bot.memory.weights import FOUR_BIT, FP8
from bot.models import IMAGE_TASKS, TORCH, ModelSpec
from bot.ports import BuildState
from bot.problem_texts.execution_problems import BACKEND_PROBLEMS, COMPILE_PROBLEMS
from bot.usecases.number_formats import compiled_precision, compiled_weights

TITLES = {"openvino": "OpenVINO", "onnx": "ONNX Runtime"}
"""Of backends, in sentences; torch has none."""
PLAIN_ATTENTION = ("", "native", "sdpa", "eager")
"""What nobody chose: torch's own."""
_STALE = ("damaged", "library", "processor", "form", "weights")
_NOT_FOUND = ("not_built", "not_installed")
"""Reported by a load before the build, or the library, was there."""
RUNS_ON = N_("Runs on {how}.")
FASTER = N_("It would be faster on {backend} (measured on this machine: {gain} times): {switch} switches to it.")
UNUSED = N_("What was compiled for it is not used: {delete} deletes it.")


@dataclass(frozen=True, kw_only=True)
class ModelExecution:
    """What a model runs on.

    Attributes:
        dtype: its number format; empty: not known before its first load.
        weights: formats of those that are smaller, such as "8bit".
        gain: how many times as fast it was measured to be as torch, or, on torch, as in float32; 0: not measured.
        levels: the largest difference of its images to those of torch, or to those in float32, of 256.
        pass_parts: passes of several images are divided into so many parts that are computed in parallel.
        attention: the kernel that a trial chose instead of torch's own choice.
        problem: why it does not run on `configured`, a key of `BACKEND_PROBLEMS`.
        compile_problem: a key of `COMPILE_PROBLEMS`.
        better: a build that is faster, while the model is to run on torch; `better_options` are those of the command
            that switches to it.
        builds_mb: all of its builds on the disk.
    """

    model: str
    configured: str = TORCH
    backend: str = TORCH
    dtype: str = ""
    weights: tuple[str, ...] = ()
    gain: float = 0.0
    levels: int = 0
    pass_parts: int = 1
    attention: str = ""
    is_compiled: bool = False
    problem: str = ""
    compile_problem: str = ""
    better: BuildState | None = None
    better_options: str = ""
    builds_mb: int = 0


@dataclass(frozen=True, kw_only=True)
class ExecutionCommands:
    """What an owner types: to make a build, to switch to a better one, to go back, to delete builds, to unload."""

    optimize: str
    switch: str
    torch: str
    delete: str
    unload: str


def find_execution(
    spec: ModelSpec,
    states: Sequence[BuildState],
    is_installed: Callable[[str], bool],
    *,
    has_compiler: Callable[[], bool] = lambda: True,
) -> ModelExecution:
    """`states`: of all builds. `is_installed`: whether a backend's library is. `has_compiler`: whether torch.compile
    has what it needs."""
    reported = spec.capabilities
    own = [one for one in states if one.model == spec.name]
    used = None if spec.backend == TORCH else _used_build(spec, own)
    problem = "" if spec.backend == TORCH else _backend_problem(spec, own, used, is_installed)
    better = _better_build(own) if spec.backend == TORCH else None
    facts = _torch_facts(spec, reported) if used is None or problem else _build_facts(used)
    return ModelExecution(
        model=spec.name,
        configured=spec.backend,
        problem=problem,
        compile_problem=_compile_problem(spec, reported, has_compiler),
        better=better,
        better_options=_options_for(spec, better) if better is not None else "",
        builds_mb=sum(one.size_mb for one in own),
        **facts,
    )


def _used_build(spec: ModelSpec, own: Sequence[BuildState]) -> BuildState | None:
    """The one that the model's settings ask for, if it fits the model and this machine."""
    return next((one for one in _asked_builds(spec, own) if not one.problem), None)


def _asked_builds(spec: ModelSpec, own: Sequence[BuildState]) -> list[BuildState]:
    asked = (spec.backend, compiled_precision(spec), compiled_weights(spec), "")
    return [one for one in own if (one.backend, one.precision, one.weights, one.loras) == asked]


def _backend_problem(
    spec: ModelSpec, own: Sequence[BuildState], used: BuildState | None, is_installed: Callable[[str], bool]
) -> str:
    """A key of `BACKEND_PROBLEMS`; empty: it runs on its backend."""
    if not IMAGE_TASKS & set(spec.tasks):
        return "no_denoiser"
    if not is_installed(spec.backend):
        return "not_installed"
    if spec.quantize in (FOUR_BIT, FP8):  # no build has these
        return "refused"
    reported = str(spec.capabilities.get("backend_problem", ""))
    if used is None:
        stale = next((one.problem for one in _asked_builds(spec, own) if one.problem in _STALE), "")
        return reported if reported in ("not_here", "unsupported") else stale or "not_built"
    if reported in _NOT_FOUND:
        return "next_load"
    return "unopened" if reported == "damaged" else reported if reported in BACKEND_PROBLEMS else ""


def _build_facts(used: BuildState) -> dict[str, Any]:
    weights = () if used.weights == "none" else (used.weights,)
    facts = {"backend": used.backend, "dtype": used.precision, "weights": weights}
    return facts if used.report is None else facts | {"gain": used.report.gain, "levels": used.report.levels}


def _torch_facts(spec: ModelSpec, reported: Mapping[str, Any]) -> dict[str, Any]:
    is_of_torch = reported.get("backend", TORCH) == TORCH
    if not is_of_torch or not reported:
        return {"dtype": "" if spec.dtype == "auto" else compiled_precision(spec)}
    attention = str(reported.get("attention", ""))
    return {
        "dtype": str(reported.get("dtype", "")),
        "weights": tuple(map(str, reported.get("weights", ()))),
        "gain": float(reported.get("dtype_gain", 0.0)),
        "levels": int(reported.get("dtype_levels", 0)),
        "pass_parts": int(reported.get("pass_parts", 1)),
        "attention": "" if attention in PLAIN_ATTENTION else attention,
        "is_compiled": bool(reported.get("compile")),
    }


def _compile_problem(spec: ModelSpec, reported: Mapping[str, Any], has_compiler: Callable[[], bool]) -> str:
    """A key of `COMPILE_PROBLEMS`; a compiler may be there, or be lost, since the model was loaded."""
    if spec.compile == "off":
        return ""
    if spec.compile == "on" and not has_compiler():
        return "no_compiler"
    found = str(reported.get("compile_problem", ""))
    return "" if found == "no_compiler" else found if found in COMPILE_PROBLEMS else ""


def _better_build(own: Sequence[BuildState]) -> BuildState | None:
    fitting = [one for one in own if not (one.problem or one.loras) and one.report is not None and one.report.is_better]
    return max(fitting, key=lambda one: one.report.gain if one.report else 0.0, default=None)


def _options_for(spec: ModelSpec, build: BuildState) -> str:
    """Of `models optimize`, for a build that is there."""
    option = "" if build.backend == "openvino" else f" --backend {build.backend}"
    option += "" if build.precision == compiled_precision(spec) else f" --precision {build.precision}"
    return option + ("" if build.weights == compiled_weights(spec) else f" --weights {build.weights}")


# ---------------------------------------------------------------- in words


def type_commands(execution: ModelExecution, program: str = "easel") -> ExecutionCommands:
    """As they are typed in a terminal."""
    command = f"{program} models optimize {execution.model}"
    backend = execution.configured
    option = "" if backend in ("openvino", TORCH) else f" --backend {backend}"
    return ExecutionCommands(
        optimize=f"`{command}{option}`",
        switch=f"`{command}{execution.better_options} --yes`",
        torch=f"`{command} --backend torch`",
        delete=f"`{command} --delete-builds`",
        unload=f"`{program} models unload`",
    )


def describe_how(execution: ModelExecution, translate: Translate = str) -> str:
    """ "OpenVINO, float32, 1.4 times as fast as torch"."""
    parts = [TITLES.get(execution.backend, execution.backend), execution.dtype]
    if execution.weights:
        parts.append(translate("weights in {formats}").format(formats=" and ".join(execution.weights)))
    if execution.gain:
        than = (
            translate("{gain} times as fast as float32")
            if execution.backend == TORCH
            else translate("{gain} times as fast as torch")
        )
        parts.append(than.format(gain=f"{execution.gain:.1f}"))
    if execution.levels > 1:
        parts.append(translate("at most {levels} of 256 levels off").format(levels=execution.levels))
    if execution.pass_parts > 1:
        parts.append(translate("passes in {count} parts").format(count=execution.pass_parts))
    if execution.attention:
        parts.append(translate("attention by {kernel}").format(kernel=execution.attention))
    if execution.is_compiled:
        parts.append(translate("compiled blocks"))
    return ", ".join(filter(None, parts))


def describe_execution(execution: ModelExecution, translate: Translate = str) -> str:
    return translate(RUNS_ON).format(how=describe_how(execution, translate))


def explain_problem(
    execution: ModelExecution, translate: Translate = str, commands: ExecutionCommands | None = None
) -> str:
    """Why something configured does not run, and what to do about it; empty: all of it runs."""
    words = vars(commands or type_commands(execution)) | {
        "backend": TITLES.get(execution.configured, execution.configured),
        "install": f"`.venv/bin/uv pip install -e '.[{execution.configured}]'`",
    }
    found = (BACKEND_PROBLEMS.get(execution.problem, ""), COMPILE_PROBLEMS.get(execution.compile_problem, ""))
    return " ".join(translate(sentence).format(**words) for sentence in found if sentence)


def advise_builds(
    execution: ModelExecution, translate: Translate = str, commands: ExecutionCommands | None = None
) -> str:
    """What to do about builds that a model on torch does not use; empty: it has none."""
    if execution.configured != TORCH or not execution.builds_mb:
        return ""
    words = vars(commands or type_commands(execution))
    if execution.better is None or execution.better.report is None:
        return translate(UNUSED).format(**words)
    backend, gain = execution.better.backend, execution.better.report.gain
    return translate(FASTER).format(**words, backend=TITLES.get(backend, backend), gain=f"{gain:.1f}")


def execution_body(execution: ModelExecution, commands: ExecutionCommands | None = None) -> dict[str, Any]:
    """JSON. `sentence` and `problem` are for people; `problem` is empty if all that is configured runs."""
    return {
        "backend": execution.backend,
        "dtype": execution.dtype,
        "weights": list(execution.weights),
        "gain": round(execution.gain, 2),
        "levels": execution.levels,
        "pass_parts": execution.pass_parts,
        "attention": execution.attention,
        "is_compiled": execution.is_compiled,
        "builds_mb": execution.builds_mb,
        "sentence": describe_execution(execution),
        "problem": explain_problem(execution, str, commands),
    }
