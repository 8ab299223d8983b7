"""Writes an adapter in the layout of the Hub: weights, config, model card and report. It is complete or absent."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bot.models import ModelSpec
from bot.ports import NO_REPLAY, OWN_REPLAY, Score, TrainingReport, TrainingRequest
from bot.runtime.private_files import make_private_folder

WEIGHTS, CONFIG, CARD, REPORT = "adapter_model.safetensors", "adapter_config.json", "README.md", "report.json"

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def write_adapter(request: TrainingRequest, report: TrainingReport, save: Callable[[Path], None]) -> TrainingReport:
    """Write the folder `request.output`, which replaces one that is there; returns the report with the hash.

    Args:
        save: writes the weights and the config, and samples if it has any, to the folder that it is given.

    Raises: OSError; what `save` raises.
    """
    output = Path(request.output)
    make_private_folder(output.parent)
    part, old = (output.with_name(f".{output.name}.{ending}") for ending in ("part", "old"))
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    make_private_folder(part)
    try:
        save(part)
        report = replace(report, sha256=sha256_of(part / WEIGHTS))
        (part / REPORT).write_text(json.dumps(report_as_json(report), indent=2) + "\n", encoding="utf-8")
        (part / CARD).write_text(describe_adapter(request, report), encoding="utf-8")
        for path in sorted(part.rglob("*")):
            _sync(path)
        if output.exists():
            output.rename(old)
        part.rename(output)
        _sync(output.parent)
    finally:
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return report


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def report_as_json(report: TrainingReport) -> dict[str, Any]:
    """With what follows from its figures."""
    return asdict(report) | {"gain": report.gain, "loss": report.loss, "is_accepted": report.is_accepted}


def _sync(path: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def base_model_name(model: ModelSpec) -> str:
    """The Hub's name of the model, or the name of its folder, without the path on this machine."""
    return model.repo if _HUB_NAME.fullmatch(model.repo) else Path(model.repo).name


def describe_adapter(request: TrainingRequest, report: TrainingReport) -> str:
    """The model card, with a YAML head as on the Hub."""
    tag = "image-to-text" if request.kind == "vision" else "text-to-image"
    verdict = "accepted" if report.is_accepted else "refused"
    head = {
        "base_model": base_model_name(request.model),
        "library_name": "peft" if request.kind == "vision" else "diffusers",
        "pipeline_tag": tag,
        "tags": ["lora", "easel"],
    }
    new, right = (
        ("new examples, never trained", "right answers")
        if request.kind == "vision"
        else ("what is new", "right pictures")
    )
    rows = {new: (report.new_before, report.new_after), "what the model knew": (report.old_before, report.old_after)}
    trained = sum(not example.is_held_out for example in report.trained)
    replay = request.replay if request.replay in (OWN_REPLAY, NO_REPLAY) else "of a folder"
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in head.items()),
        "---",
        f"# {request.name}",
        "",
        f"A LoRA adapter for `{base_model_name(request.model)}`, trained with Easel on {trained} examples in "
        f"{report.steps} steps ({report.seconds:.0f} s). Its test {verdict} it.",
        *([f"Words in prompts that name what it learned: {request.words}."] if request.words else []),
        "",
        f"| {right} | before | after |",
        "|---|---|---|",
        *(f"| {name} | {_share(before)} | {_share(after)} |" for name, (before, after) in rows.items()),
        "",
        f"Trained on revision `{report.revision}` of the model; seed {request.seed}, replay {replay}.",
        "",
    ]
    return "\n".join(lines)


def _share(score: Score) -> str:
    return f"{score.right} of {score.total} ({score.percent:.1f} %)"
