"""JSON views of trainings and of their report cards, shared by the page, REST and the command line."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bot.i18n import Translate
from bot.ports import AdapterRecord
from bot.problem_texts.adapter_problems import NEW_FELL_SHORT, OLD_LOST
from bot.usecases.training_orders import Training, report_body


def training_body(training: Training) -> dict[str, Any]:
    """`state`: running, done or failed. `losses`: of this session, each with its step."""
    progress = training.progress
    return {
        "name": training.name,
        "kind": training.order.kind,
        "model": training.model.name,
        "state": _state_of(training),
        "progress": None if training.is_finished else asdict(progress),
        "losses": [list(one) for one in _thin(training.losses)],
        "report": None if training.report is None else report_body(training.report),
        "is_switched_on": training.is_switched_on,
        "error": training.error,
        "started_at": training.started_at.isoformat(),
    }


def adapter_body(adapter: AdapterRecord) -> dict[str, Any]:
    return {
        "name": adapter.name,
        "kind": adapter.kind,
        "model": adapter.model,
        "revision": adapter.revision,
        "sha256": adapter.sha256,
        "state": adapter.state,
        "report": dict(adapter.report),
        "rejection": explain_rejection(adapter.report),
        "created_at": adapter.created_at.isoformat(),
    }


MAX_POINTS = 200


def _thin(losses: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `MAX_POINTS` of them, evenly spaced, with the last."""
    stride = -(-len(losses) // MAX_POINTS) or 1
    return losses[-1::-stride][::-1]


def _state_of(training: Training) -> str:
    if not training.is_finished:
        return "running"
    return "failed" if training.error else "done"


def explain_rejection(report: Mapping[str, Any], translate: Translate = str) -> str:
    """Which bounds of its test an adapter failed, by its report card; empty: none, or they are not known."""
    gain, needed = report.get("gain"), report.get("needed_gain")
    loss, allowed = report.get("loss"), report.get("allowed_loss")
    found = []
    kind = "image" if report.get("kind") == "image" else "vision"
    if isinstance(gain, int | float) and isinstance(needed, int | float) and gain < needed:
        shown = math.floor(gain * 10) / 10  # never rounded up to what is needed
        found.append(translate(NEW_FELL_SHORT[kind]).format(gain=f"{shown:+g}", needed=f"{needed:.0f}"))
    if isinstance(loss, int | float) and isinstance(allowed, int | float) and loss >= allowed:
        found.append(translate(OLD_LOST[kind]).format(loss=f"{loss:.1f}", allowed=f"{allowed:.0f}"))
    return " ".join(found)
