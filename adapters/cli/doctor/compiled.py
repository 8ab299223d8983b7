"""Checks of what models run on, and of what was compiled for them: whether it is used, or would pay."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from adapters.cli.doctor.check import OK, WARN, Check
from adapters.cli.doctor.data import read_capabilities
from adapters.cli.models.install import format_size
from adapters.cli.output import program_name
from bot.models import TORCH, ModelSpec
from bot.ports import BuildState
from bot.usecases.model_execution import (
    ModelExecution,
    advise_builds,
    describe_execution,
    explain_problem,
    find_execution,
    type_commands,
)

if TYPE_CHECKING:
    from adapters.cli.ports import CompositionRoot, LoadedConfig


def check_builds(composition: "CompositionRoot", loaded: "LoadedConfig") -> Iterator[Check]:
    """A line for each enabled model, then what their builds take on the disk, and those of no model."""
    states = composition.list_builds(loaded)
    for execution in find_executions(composition, loaded, states):
        yield check_execution(execution)
    size_mb = composition.builds_size_mb(loaded)
    if size_mb:
        sentence = f"Compiled models take {format_size(size_mb * 2**20)} in {loaded.data_dir / 'builds'}."
        yield Check("models", OK, sentence)
    for state in states:
        if state.problem == "model":
            sentence = f"{state.model} is not configured any more: delete {loaded.data_dir / 'builds' / state.key}."
            yield Check("models", WARN, sentence)


def find_executions(
    composition: "CompositionRoot", loaded: "LoadedConfig", states: Sequence[BuildState] | None = None
) -> list[ModelExecution]:
    """Of each enabled model, by what it reported when a server loaded it last, and by the builds on the disk."""
    states = composition.list_builds(loaded) if states is None else states
    reported = read_capabilities(loaded)

    def find(spec: ModelSpec) -> ModelExecution:
        known = spec.with_capabilities(reported.get(spec.name, {}))
        return find_execution(known, states, composition.is_installed, has_compiler=composition.has_compiler)

    return [find(spec) for spec in loaded.models]


def check_execution(execution: ModelExecution) -> Check:
    """What a model runs on, in one line, and what to do about it."""
    commands = type_commands(execution, program_name())
    problem = explain_problem(execution, str, commands)
    runs_on = describe_execution(execution)
    sentence = f"{execution.model} {runs_on[:1].lower()}{runs_on[1:]}"
    advice = advise_builds(execution, str, commands)
    return Check("models", WARN if problem else OK, " ".join(filter(None, (sentence, problem, advice))))


def describe_builds(composition: "CompositionRoot", loaded: "LoadedConfig") -> list[str]:
    """The lines of models that run on a backend, could, or cannot run as they are configured."""
    return [check_execution(one).sentence for one in find_executions(composition, loaded) if _has_news(one)]


def describe_notes(executions: Sequence[ModelExecution]) -> list[str]:
    """For a list that says what models run on: problems, and what to do about builds."""
    return [check_execution(one).sentence for one in executions if _has_note(one)]


def _has_news(execution: ModelExecution) -> bool:
    return execution.configured != TORCH or _has_note(execution)


def _has_note(execution: ModelExecution) -> bool:
    return bool(explain_problem(execution) or advise_builds(execution))
