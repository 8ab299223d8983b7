"""What is asked of a training, how far it is, and its report card as JSON."""

import asyncio
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from bot.models import ModelSpec
from bot.ports import OWN_REPLAY, AdapterKind, AdapterRecord, TrainingProgress, TrainingReport
from bot.ports.learning import MAX_OLD_LOSS, MIN_NEW_GAIN


@dataclass(frozen=True, kw_only=True)
class TrainingOrder:
    """What somebody asks for; empty values are chosen.

    Attributes:
        folder: on the server's machine; may be empty with corrections.
        corrections: learn from the corrections that people have consented to.
        replace: an accepted adapter of the same name.
    """

    kind: AdapterKind
    folder: str = ""
    model: str = ""
    name: str = ""
    words: str = ""
    replay: str = OWN_REPLAY
    steps: int = 0
    seed: int = 0
    corrections: bool = False
    replace: bool = False


@dataclass(kw_only=True)
class Training:
    """One training since the server started. `error`, a sentence, or `report` is set at the end."""

    name: str
    order: TrainingOrder
    model: ModelSpec
    progress: TrainingProgress = field(default_factory=lambda: TrainingProgress(stage="checking"))
    losses: list[tuple[int, float]] = field(default_factory=list)
    report: TrainingReport | None = None
    is_switched_on: bool = False
    error: str = ""
    is_finished: bool = False
    started_at: datetime
    used_corrections: frozenset[str] = frozenset()
    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


def make_record(training: Training, report: TrainingReport) -> AdapterRecord:
    return AdapterRecord(
        name=training.name,
        kind=training.order.kind,
        model=training.model.name,
        revision=report.revision,
        sha256=report.sha256,
        state="accepted" if report.is_accepted else "rejected",
        report=report_body(report),
        created_at=datetime.now(UTC),
    )


def report_body(report: TrainingReport) -> dict[str, Any]:
    """The report card as JSON; without what it learned from, which has its own table."""
    body = asdict(replace(report, trained=()))
    del body["trained"]
    return {
        **body,
        "gain": round(report.gain, 2),
        "loss": round(report.loss, 2),
        "needed_gain": MIN_NEW_GAIN,
        "allowed_loss": MAX_OLD_LOSS,
        "is_accepted": report.is_accepted,
    }
