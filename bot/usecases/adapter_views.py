"""JSON views of adapters for owners: their report cards, which of them are in use, and why others cannot be."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.i18n import Translate
from bot.models import ModelRegistry, ModelSpec
from bot.ports import AdapterRecord
from bot.problem_texts.adapter_problems import FAILED_TEST, OWNER_PROBLEMS
from bot.usecases.adapters import find_problem
from bot.usecases.training_views import adapter_body, explain_rejection


def adapter_rows(
    records: Sequence[AdapterRecord], models: ModelRegistry, data_dir: Path, translate: Translate = str
) -> list[dict[str, Any]]:
    """Of each. `is_used`: by requests that name none. `problem`: a sentence; empty: it can be used."""
    return [_row(record, models.get(record.model), data_dir, translate) for record in records]


def _row(record: AdapterRecord, model: ModelSpec | None, data_dir: Path, translate: Translate) -> dict[str, Any]:
    problem = find_problem(record, model, data_dir)
    is_used = model is not None and not problem and record.name in model.adapters
    return {**adapter_body(record), "is_used": is_used, "problem": explain_problem(record, problem, translate)}


def explain_problem(record: AdapterRecord, problem: str, translate: Translate = str) -> str:
    """`problem`: a key of `OWNER_PROBLEMS`. Empty: there is none."""
    if problem == "adapter_rejected":
        return f"{translate(FAILED_TEST)} {explain_rejection(record.report, translate)}".strip()
    return translate(OWNER_PROBLEMS[problem]).format(model=record.model) if problem else ""


def describe_scores(row: Mapping[str, Any], translate: Translate = str) -> str:
    """ "new 2 to 95 of 100, old 99 to 98 of 100", of a row's report card; empty: it has no figures."""
    report = row["report"]
    parts = []
    for title, which in ((translate("new"), "new"), (translate("old"), "old")):
        before, after = report.get(f"{which}_before"), report.get(f"{which}_after")
        if isinstance(before, dict) and isinstance(after, dict) and after.get("total"):
            parts.append(f"{title} {before.get('right')} \u2192 {after.get('right')} / {after['total']}")
    return ", ".join(parts)


def adapter_option(model: ModelSpec, names: Sequence[str]) -> dict[str, Any] | None:
    """The option `adapter` as the model has it, for `GET /models`; None: it has none."""
    if not names:
        return None
    default = next((name for name in model.adapters if name in names), None)
    return {"name": "adapter", "type": "string", "choices": [*names, "none"], "default": default}
