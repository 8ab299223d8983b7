"""What admins read in a chat about models: lists, terms and progress. Plain text."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bot import error_texts
from bot.chat.arguments import TYPED, CommandStyle
from bot.chat.texts import format_duration, format_install_progress
from bot.commands.upscale import describe_upscaling
from bot.i18n import N_, Translate, translator
from bot.memory.fit import FitEstimate
from bot.memory.loaded_together import describe_loaded_together
from bot.models import ModelRegistry, ModelSpec
from bot.ports import BuildRequest, PromptAddon, UnloadResult
from bot.usecases.adapter_views import describe_scores
from bot.usecases.installations import Installation, InstallTerms
from bot.usecases.model_execution import ModelExecution, describe_execution, explain_problem, type_commands
from bot.usecases.moderation import SpaceRules
from bot.usecases.number_formats import compiled_precision, compiled_weights

HOW_TO_USE = N_("To install one: {use}. Instead of use: cancel stops an installation, remove deletes a model.")
TRIGGER_WORDS = N_("Trigger words: {words}.")
COMPILING = N_(
    "{model} is being compiled for {backend} and tried; it serves on meanwhile. To see how far it is: {command}"
)
RUNS_ON = N_("{model} runs on {backend}, {gain} times as fast as on torch. To go back: {command}")
IS_FASTER = N_(
    "{backend} runs {model} {gain} times as fast as torch; pictures differ by at most {levels} of 256 levels. "
    "To switch: {command}"
)
NOT_BETTER = N_("{model} stays on torch: {backend} is not better on this machine ({gain} times as fast).")
ACCEPT_FIRST = N_("To accept these terms and install it: {accept}")


def format_model_list(
    models: ModelRegistry,
    fits: dict[str, FitEstimate],
    installations: Sequence[Installation],
    additions: Sequence[PromptAddon],
    executions: Mapping[str, ModelExecution],
    locale: str = "en",
    *,
    adapters: Sequence[Mapping[str, Any]] = (),
    style: CommandStyle = TYPED,
) -> str:
    """Every installed model with its tasks and what it runs on, then the presets with their requirements.

    `adapters`: rows of `adapter_rows`.
    """
    translate = translator(locale)
    lines = [_format_installed(models, spec, executions.get(spec.name), translate, style) for spec in models]
    lines += [
        translate("Available to install:"),
        *(_format_preset(spec, fits.get(spec.name), translate) for spec in models.presets),
    ]
    lines += [_format_addition(one, translate) for one in additions]
    lines += [_format_adapter(row, translate) for row in adapters]
    lines += [f"{one.spec.display_name}: {one.error}" for one in installations if one.error]
    lines += [
        format_optimization(one, locale, style=style)
        for one in installations
        if one.optimization is not None and not one.error
    ]
    use = style.write("admin", {"what": "models", "action": "use", "model": translate("NAME")})
    lines.append(translate(HOW_TO_USE).format(use=use))
    lines += [translate(error_texts.DEMO_HINT)] if any(spec.demo for spec in models) else []
    return "\n".join(lines)


def _format_adapter(row: Mapping[str, Any], translate: Translate) -> str:
    state = translate("in use") if row["is_used"] else row["problem"] or translate("off")
    scores = describe_scores(row, translate)
    told = ". ".join(filter(None, (scores, state)))
    return translate("{name}: adapter of {model}. {told}").format(name=row["name"], model=row["model"], told=told)


def format_adapter(spec: ModelSpec, locale: str = "en") -> str:
    """What a model's next requests use."""
    translate, used = translator(locale), ", ".join(spec.adapters)
    sentence = (
        translate("{model} uses the adapter {name} from the next request on.")
        if used
        else (translate("{model} uses no adapter from the next request on."))
    )
    return sentence.format(model=spec.display_name, name=used)


def _format_addition(addon: PromptAddon, translate: Translate) -> str:
    text = f"{addon.name}: {addon.kind} {addon.family}".rstrip()
    if not addon.trigger_words:
        return text
    return f"{text}. " + translate(TRIGGER_WORDS).format(words=", ".join(addon.trigger_words))


def _format_installed(
    models: ModelRegistry, spec: ModelSpec, execution: ModelExecution | None, translate: Translate, style: CommandStyle
) -> str:
    progress = models.install_progress(spec.name)
    if progress is not None:
        return f"{spec.name}: {format_install_progress(progress, spec.display_name, translate)}"
    tasks = [
        translate("{task} (default)").format(task=translate(task))
        if models.default_for(task) is spec
        else translate(task)
        for task in spec.tasks
    ]
    text = f"{spec.name}: {', '.join(tasks)}"
    return text if execution is None else f"{text}. {_format_execution(execution, translate, style)}"


def _format_execution(execution: ModelExecution, translate: Translate, style: CommandStyle) -> str:
    """What a model runs on, and a problem if there is one, with commands of the chat where it has them."""
    commands = type_commands(execution)
    options = {"what": "models", "action": "optimize", "model": execution.model}
    commands = replace(
        commands,
        torch=style.write("admin", options | {"action": "torch"}),
        unload=style.write("admin", {"what": "unload"}),
    )
    if execution.configured == "openvino":  # the command's default
        commands = replace(commands, optimize=style.write("admin", options))
    problem = explain_problem(execution, translate, commands)
    return " ".join(filter(None, (describe_execution(execution, translate), problem)))


def _format_preset(spec: ModelSpec, fits: FitEstimate | None, translate: Translate) -> str:
    told = [spec.display_name]
    if spec.download_mb:
        told.append(translate("{size} GiB").format(size=f"{spec.download_mb / 1024:.1f}"))
    if fits is not None:
        told.append(_format_fit(fits, translate))
    if not spec.commercial:
        told.append(translate("not for commercial use"))
    return f"{spec.name}: {', '.join(told)}"


def _format_fit(fits: FitEstimate, translate: Translate) -> str:
    if fits.place == "no":
        return translate("does not fit")
    where = translate("on the CPU") if fits.place == "cpu" else translate("fits")
    return f"{where}, {format_duration(fits.seconds, translate)}" if fits.seconds else where


def format_terms(
    terms: InstallTerms,
    locale: str = "en",
    *,
    formats: Mapping[str, str] = MappingProxyType({}),
    style: CommandStyle = TYPED,
) -> str:
    """What an admin should know before the download, and how to accept it. `formats`: options that were given."""
    translate, spec = translator(locale), terms.spec
    lines = [_format_preset(spec, terms.fit, translate)]
    if upscaling := describe_upscaling(spec, translate):
        lines.append(f"{upscaling}.")
    if terms.missing_bytes:
        lines.append(
            translate("{missing} GiB to download; {free} GiB are free.").format(
                missing=f"{terms.missing_bytes / 2**30:.1f}", free=f"{terms.free_bytes / 2**30:.1f}"
            )
        )
    lines += [translate("Licence: {licence}").format(licence=licence) for licence in terms.licences]
    lines += [spec.licence_url] if spec.licence_url else []
    lines += describe_loaded_together(terms.together, translate) if terms.together is not None else []
    options = {"what": "models", "action": "use", "model": spec.name}
    accept = style.write("admin", options, **formats, accept=True)
    return "\n".join([*lines, translate(ACCEPT_FIRST).format(accept=accept)])


def format_install_started(installation: Installation, locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    translate = translator(locale)
    return translate("Downloading and testing {model}. To see its progress: {command}").format(
        model=installation.spec.display_name, command=style.write("admin", {"what": "models"})
    )


def format_optimization(installation: Installation, locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    """How far the compilation of a model is, or what it has measured and what to do about it."""
    translate, title, built = translator(locale), installation.spec.display_name, installation.optimization
    assert built is not None
    name = installation.spec.name
    values = {"model": title, "backend": built.request.backend}
    if not installation.is_finished:
        return translate(COMPILING).format(**values, command=style.write("admin", {"what": "models"}))
    report = built.report
    if report is None:
        return translate("{model} runs on torch.").format(**values)
    values |= {"gain": f"{report.gain:.1f}", "levels": str(report.levels)}
    if built.is_applied:
        return translate(RUNS_ON).format(
            **values, command=style.write("admin", {"what": "models", "action": "torch", "model": name})
        )
    if not report.is_better:
        return translate(NOT_BETTER).format(**values)
    options = {"what": "models", "action": "optimize", "model": name}
    command = style.write("admin", options, **_asked_formats(built.request), accept=True)
    return translate(IS_FASTER).format(**values, command=command)


def _asked_formats(request: BuildRequest) -> dict[str, str]:
    """The options that a build needs beside the model's settings."""
    own = {"weights": compiled_weights(request.model), "precision": compiled_precision(request.model)}
    return {name: value for name in own if (value := getattr(request, name)) != own[name]}


def format_removed(name: str, freed: int, locale: str = "en") -> str:
    translate = translator(locale)
    if not freed:
        return translate("{model} is deleted.").format(model=name)
    return translate("{model} is deleted; {size} GiB are free again.").format(model=name, size=f"{freed / 2**30:.1f}")


def format_unloaded(freed: UnloadResult, locale: str = "en") -> str:
    translate = translator(locale)
    lines = []
    if freed.models:
        sentence = translate("{models}: unloaded; {size} GiB are free again.")
        lines.append(sentence.format(models=", ".join(freed.models), size=f"{freed.freed_mb / 1024:.1f}"))
    if freed.busy:
        lines.append(translate("Still loaded because jobs are running: {models}.").format(models=", ".join(freed.busy)))
    return "\n".join(lines) or translate("No models were loaded.")


def format_policy(rules: SpaceRules, locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    """The rules of the place where the command was sent."""
    translate = translator(locale)
    policy = style.write("admin", {"what": "policy", "action": "spoiler"})
    edits = style.write("admin", {"what": "policy"}, edit_others="yes")
    return "\n".join(
        [
            translate(POLICIES[rules.policy.value]),
            translate(EDITS) if rules.edit_others else translate(EDITS_NOT),
            translate(HOW_TO_POLICY).format(policy=policy, edits=edits),
        ]
    )


POLICIES = {
    "block": N_("Sexual pictures are deleted here."),
    "spoiler": N_("Sexual pictures are hidden behind a click here, in channels for adults only."),
    "allow": N_("Sexual pictures are shown here, in channels for adults only."),
}
EDITS = N_("Pictures posted by others may be edited.")
EDITS_NOT = N_("Pictures posted by others may not be edited.")
HOW_TO_POLICY = N_("To change this: {policy} (or block, allow, default), {edits} (or no).")
