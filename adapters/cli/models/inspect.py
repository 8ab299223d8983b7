"""Inspects configured models without loading them: their files, tasks and disk usage."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.models.install import format_size
from adapters.cli.output import print_json, print_line, print_note, print_table, program_name, with_image_wording
from bot.commands.upscale import describe_upscaling
from bot.model_install.addon_files import list_addons
from bot.model_install.gguf_header import read_gguf_header
from bot.model_install.model_headers import DamagedModelFile, read_json_object, read_tensor_shapes
from bot.models import GGUF_SUFFIX, ModelSpec
from bot.ports import PromptAddon
from bot.settings import hub_cache_dir, hub_repo_dir
from bot.usecases.adapter_views import describe_scores
from bot.usecases.model_execution import ModelExecution, describe_how, execution_body, type_commands
from bot.usecases.model_views import addon_body, spec_body
from bot.usecases.number_formats import long_name

if TYPE_CHECKING:
    from adapters.cli.ports import LoadedConfig

OTHER_WEIGHTS = {".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".h5", ".msgpack", ".onnx", ".gguf"}
"""Formats that are never loaded; several of them can execute code."""
NON_COMMERCIAL = "not for commercial use"
CONFIG_FILES = ("model_index.json", "config.json")


def check_model(spec: ModelSpec, root: Path) -> tuple[str, str]:
    """A mark and a sentence for `doctor`."""
    path = find_model_path(spec, root)
    if path is None:
        return "bad", f"{spec.name}: {_missing_sentence(spec, root)}"
    is_single_file = path.is_file()
    files = [path] if is_single_file else sorted(one for one in path.rglob("*") if one.is_file())
    problem = _with_path(path, find_weights_problem(path)) if is_single_file else _find_problem(files, path)
    problem = problem or _find_base_problem(spec, root)
    if problem:
        return "bad", f"{spec.name}: {problem}"
    size_mb = sum(one.stat().st_size for one in files) / 2**20
    ignored = [one.name for one in files if not is_single_file and one.suffix.lower() in OTHER_WEIGHTS]
    demo = " (demo)" if spec.demo else ""
    sentence = f"{spec.name}{demo}: {', '.join(spec.tasks)}; {path} ({size_mb:.1f} MiB)."
    if ignored:
        return "warn", f"{sentence} Ignored, because only safetensors are loaded: {', '.join(ignored[:3])}."
    return "ok", sentence


def _find_base_problem(spec: ModelSpec, root: Path) -> str:
    """Why the other components of a `.gguf` file cannot be loaded; empty if they can, or for other models."""
    if not spec.is_gguf:
        return ""
    if not spec.base_model:
        return "its table lacks base_model: the repository or folder with the text encoder and the VAE."
    base = replace(spec, repo=spec.base_model, file="", revision="")
    is_here = find_model_path(base, root) is not None
    return "" if is_here else f"its base_model is missing: {_missing_sentence(base, root)}"


def _missing_sentence(spec: ModelSpec, root: Path) -> str:
    if is_local_path(spec.repo, root):
        return f"the folder {root / spec.repo} does not exist: copy the model there, or change its repo."
    return f"{spec.repo} is neither a folder nor in the Hugging Face cache {hub_cache_dir()}."


def _find_problem(files: list[Path], folder: Path) -> str:
    """The first problem that would prevent the model from loading; empty if there is none."""
    if not files:
        return f"the folder {folder} is empty."
    for path in (path for path in files if path.name in CONFIG_FILES or path.name.endswith("config.json")):
        if problem := _with_path(path, _describe_problem(path, read_json_object)):
            return problem
    if not any((folder / name).exists() for name in CONFIG_FILES):
        return f"{folder} is not a model folder: it has neither {' nor '.join(CONFIG_FILES)}."
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        others = sorted({path.suffix for path in files if path.suffix.lower() in OTHER_WEIGHTS})
        has = f"only {', '.join(others)}" if others else "no weights"
        return f"{folder} has {has}; only safetensors are loaded: convert the model, or use another one."
    for path in weights:
        if problem := _with_path(path, find_weights_problem(path)):
            return problem
    return ""


def _with_path(path: Path, problem: str) -> str:
    return f"{path} {problem}." if problem else ""


def _describe_problem(path: Path, read: Callable[[Path], object]) -> str:
    """What is wrong with a file; empty if it can be read."""
    try:
        read(path)
    except DamagedModelFile as error:
        return str(error)
    except OSError:
        return "cannot be read"
    return ""


def find_weights_problem(path: Path) -> str:
    """Check the header and length of a safetensors or GGUF file; empty if they are valid."""
    return _describe_problem(path, read_gguf_header if path.suffix == GGUF_SUFFIX else read_tensor_shapes)


def find_model_path(spec: ModelSpec, root: Path) -> Path | None:
    """The model's folder or single file: in the clone, anywhere on disk, or in the Hugging Face cache."""
    local = root / Path(spec.repo).expanduser()
    if local.exists():
        return local
    snapshots = hub_repo_dir(spec.repo) / "snapshots"
    candidates = sorted(snapshots.glob(spec.revision or "*")) if snapshots.is_dir() else []
    path = candidates[-1] / spec.file if candidates else None
    return path if path is not None and path.exists() else None


def disk_usage(spec: ModelSpec, root: Path) -> int:
    """Bytes that the model uses on disk; 0 if it is not installed."""
    path = find_model_path(spec, root)
    if path is None:
        return 0
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def is_local_path(repo: str, root: Path) -> bool:
    """Whether `repo` names a folder rather than a hub repository (`org/name`)."""
    return repo.startswith((".", "/", "~")) or repo.count("/") != 1 or (root / repo.split("/")[0]).is_dir()


# ---------------------------------------------------------------- models list


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    name: str
    tasks: tuple[str, ...]
    default_for: tuple[str, ...]
    repo: str
    demo: bool
    licence: str
    mark: str
    sentence: str
    disk_bytes: int
    weights: str
    precision: str
    execution: ModelExecution


def list_models(loaded: "LoadedConfig", executions: Sequence[ModelExecution]) -> list[ModelRow]:
    """`executions`: what each enabled model runs on."""
    found = {one.model: one for one in executions}
    rows = []
    for spec in loaded.models:
        mark, sentence = check_model(spec, loaded.root)
        rows.append(
            ModelRow(
                name=spec.name,
                tasks=spec.tasks,
                default_for=tuple(task for task in spec.tasks if loaded.models.default_for(task) is spec),
                repo=spec.repo,
                demo=spec.demo,
                licence=spec.licence,
                mark=mark,
                sentence=sentence,
                disk_bytes=disk_usage(spec, loaded.root),
                weights=spec.quantize,
                precision=long_name(spec.dtype),
                execution=found[spec.name],
            )
        )
    return rows


def print_models(
    loaded: "LoadedConfig",
    executions: Sequence[ModelExecution],
    notes: Sequence[str] = (),
    adapters: Sequence[Mapping[str, Any]] = (),
    *,
    as_json: bool,
) -> int:
    """A model that cannot be loaded is reported, but does not change the exit code.

    `notes`: on builds. `adapters`: rows of `adapter_rows`.
    """
    rows, presets, addons = list_models(loaded, executions), loaded.models.presets, list_addons(loaded.data_dir)
    if as_json:
        print_json(
            {
                "models": [_row_body(row) for row in rows],
                "presets": [{**spec_body(one), "disk_bytes": disk_usage(one, loaded.root)} for one in presets],
                "additions": [addon_body(addon) for addon in addons],
                "adapters": list(adapters),
            }
        )
        return 0
    cells = [
        *(_model_cells(row, loaded.root) for row in rows),
        *(_addon_cells(addon, loaded.data_dir) for addon in addons),
    ]
    print_table(("Name", "Tasks", "Runs on", "Disk", "Source"), cells)
    for row in rows:
        if row.mark == "bad":
            print_line(row.sentence)
    for note in notes:
        print_line(note)
    if adapters:
        print_note(f"\nAdapters, switched on with `{program_name()} models use MODEL --adapter NAME`:")
        print_table(("Name", "Model", "State", "Right answers"), [_adapter_cells(row) for row in adapters])
    if presets:
        print_note(f"\nPresets, installed with `{program_name()} models use NAME`:")
        cells = [_preset_cells(spec, disk_usage(spec, loaded.root)) for spec in presets]
        print_table(("Name", "Tasks", "Disk", "Download", "Licence"), cells)
    for spec in (*loaded.models, *presets):
        if upscaling := describe_upscaling(spec):
            print_note(f"{spec.name}: {with_image_wording(upscaling)}.")
    return 0


def _model_cells(row: ModelRow, root: Path) -> tuple[str, ...]:
    tasks = [f"{task} (default)" if task in row.default_for else task for task in row.tasks]
    source = row.repo.removeprefix(f"{root}{os.sep}") + " (demo)" * row.demo
    return row.name, ", ".join(tasks), describe_how(row.execution), _format_disk(row), source


def _format_disk(row: ModelRow) -> str:
    """With what was compiled for it."""
    size = format_size(row.disk_bytes) if row.disk_bytes else "-"
    builds_mb = row.execution.builds_mb
    return f"{size}, compiled {format_size(builds_mb * 2**20)}" if builds_mb else size


def _addon_cells(addon: PromptAddon, data_dir: Path) -> tuple[str, ...]:
    kind = {"lora": "LoRA", "inversion": "textual inversion"}[addon.kind]
    family = f" for {addon.family}" if addon.family else ""
    place = "" if Path(addon.path).is_relative_to(data_dir) else addon.path
    words = f"trigger words: {', '.join(addon.trigger_words)}" if addon.trigger_words else ""
    return addon.name, f"{kind}{family}", "", format_size(addon.size), "; ".join(filter(None, (place, words)))


def _adapter_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    state = "in use" if row["is_used"] else row["problem"] or "off"
    return row["name"], row["model"], state, describe_scores(row)


def _preset_cells(spec: ModelSpec, disk_bytes: int) -> tuple[str, ...]:
    disk = format_size(disk_bytes) if disk_bytes else "-"
    download = format_size(spec.download_mb * 2**20) if spec.download_mb else "-"
    licences = "; ".join(spec.licences) or spec.licence
    limits = "" if spec.commercial or NON_COMMERCIAL in licences else f", {NON_COMMERCIAL}"
    return spec.name, ", ".join(spec.tasks), disk, download, f"{licences}{limits}"


def _row_body(row: ModelRow) -> Mapping[str, Any]:
    commands = type_commands(row.execution, program_name())
    return {**vars(row), "execution": execution_body(row.execution, commands), "is_usable": row.mark != "bad"}
