"""JSON views of models for their owner, shared by the page, REST and the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

from bot.commands.upscale import describe_upscaling
from bot.memory.fit import FitEstimate
from bot.memory.loaded_together import describe_loaded_together
from bot.models import InstallProgress, ModelRegistry, ModelSpec
from bot.ports import BuildReport, PromptAddon, UnloadResult
from bot.usecases.installations import Installation, InstallTerms
from bot.usecases.model_execution import ModelExecution, execution_body
from bot.usecases.model_manager import ModelManager
from bot.usecases.model_scan import ScannedFile
from bot.usecases.number_formats import long_name


def install_progress_body(progress: InstallProgress | None) -> dict[str, Any] | None:
    """In bytes, bytes per second and seconds; None for an installed model."""
    if progress is None:
        return None
    return {
        "stage": progress.stage,
        "done": progress.done,
        "total": progress.total,
        "rate": progress.rate,
        "eta_s": progress.eta_s,
    }


def fit_body(fit: FitEstimate) -> dict[str, Any]:
    """`missing` describes the memory that is missing, `missing_mb` its amount, MiB."""
    return {
        "place": fit.place,
        "seconds": fit.seconds,
        "missing": fit.missing,
        "missing_mb": fit.missing_mb,
        "notes": list(fit.notes),
    }


def spec_body(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.display_name,
        "tasks": list(spec.tasks),
        "upscale": describe_upscaling(spec),
        "repo": spec.repo,
        "revision": spec.capabilities.get("revision") or spec.revision,
        "licences": list(spec.licences or ((spec.licence,) if spec.licence else ())),
        "licence_url": spec.licence_url,
        "commercial": spec.commercial,
        "demo": spec.demo,
        "enabled": spec.enabled,
        "backend": spec.backend,
        "weights": spec.quantize,
        "precision": long_name(spec.dtype),
        "download_mb": spec.download_mb,
    }


def model_rows(
    manager: ModelManager,
    fits: dict[str, FitEstimate],
    usage: dict[str, int],
    executions: Mapping[str, ModelExecution],
) -> list[dict[str, Any]]:
    """All models, then all presets. `usage`: disk usage by repo, bytes. `executions`: of enabled models."""
    models: ModelRegistry = manager.models
    rows = []
    for spec in models.all_specs:
        installation = manager.status(spec.name)
        rows.append(
            {
                **spec_body(spec),
                "default_for": [task for task in spec.tasks if models.default_for(task) is spec],
                "install_progress": install_progress_body(models.install_progress(spec.name)),
                "fits": fit_body(fits[spec.name]) if spec.name in fits else None,
                "disk_bytes": usage.get(spec.repo, 0),
                "error": installation.error if installation else "",
                "optimization": optimization_body(installation),
                "execution": execution_body(executions[spec.name]) if spec.name in executions else None,
            }
        )
    return rows


def unload_body(unloaded: UnloadResult) -> dict[str, Any]:
    """`models` were unloaded, `busy` ones are in use; `freed_mb` in MiB."""
    return {"models": list(unloaded.models), "busy": list(unloaded.busy), "freed_mb": unloaded.freed_mb}


def addon_body(addon: PromptAddon) -> dict[str, Any]:
    """`spellings`: other names in prompts; `trigger_words`: words that its author recommends."""
    texts = {"spellings": list(addon.spellings), "trigger_words": list(addon.trigger_words)}
    return {name: value for name, value in vars(addon).items() if name != "path"} | texts


def scan_body(folder: str, files: Sequence[ScannedFile]) -> dict[str, Any]:
    return {"folder": folder, "files": [vars(file) for file in files]}


def terms_body(terms: InstallTerms) -> dict[str, Any]:
    """What an owner has to know before a download; sizes in bytes."""
    rejected = sorted({name for listing in terms.listings for name in listing.rejected_files})
    return {
        **spec_body(terms.spec),
        "licences": list(terms.licences),
        "must_accept": terms.requires_licence,
        "gated": terms.is_gated,
        "fits": fit_body(terms.fit),
        "missing_bytes": terms.missing_bytes,
        "total_bytes": sum(listing.total_bytes for listing in terms.listings),
        "free_bytes": terms.free_bytes,
        "refused": rejected,
        "commit": terms.listings[0].commit if terms.listings else "",
        "together": describe_loaded_together(terms.together) if terms.together is not None else [],
    }


def report_body(report: BuildReport) -> dict[str, Any]:
    """`gain`: how many times as fast as torch, on average; `levels`: the largest difference, of 256; sizes in MiB."""
    return {
        "gain": round(report.gain, 2),
        "speeds": [{**vars(speed), "gain": round(speed.gain, 2)} for speed in report.speeds],
        "torch_mb": report.torch_mb,
        "backend_mb": report.backend_mb,
        "disk_mb": report.disk_mb,
        "levels": report.levels,
        "prompts": report.prompts,
        "steps": report.steps,
        "is_better": report.is_better,
    }


def optimization_body(installation: Installation | None) -> dict[str, Any] | None:
    """What is compiled for a model; None: nothing was, since the server started. `report` is set at its end."""
    if installation is None or installation.optimization is None:
        return None
    optimization = installation.optimization
    request, report = optimization.request, optimization.report
    return {
        "backend": request.backend,
        "precision": request.precision,
        "weights": request.weights,
        "progress": install_progress_body(None if installation.is_finished else installation.progress),
        "report": report_body(report) if report is not None else None,
        "is_applied": optimization.is_applied,
    }


def installation_body(installation: Installation) -> dict[str, Any]:
    """The state of an installation; `trials` and `error` are set at the end."""
    return {
        "name": installation.spec.name,
        "title": installation.spec.display_name,
        "tasks": list(installation.tasks),
        "weights": installation.spec.quantize,
        "precision": long_name(installation.spec.dtype),
        "adapters": list(installation.spec.adapters),
        "install_progress": install_progress_body(None if installation.is_finished else installation.progress),
        "is_over": installation.is_finished,
        "error": installation.error,
        "optimization": optimization_body(installation),
        "trials": [
            {
                "task": test.task,
                "text": test.text,
                "seconds": test.seconds,
                "notes": list(test.notes),
                "has_picture": test.image is not None,
            }
            for test in installation.smoke_tests
        ],
    }
