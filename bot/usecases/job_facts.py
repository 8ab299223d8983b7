"""How a job was done, as a viewer shows it beside a picture. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.jobs import Job
from bot.prompts.grammar import LoraTag, find_lora_tags, task_prompts
from bot.prompts.resolver import original_prompt
from bot.prompts.styles import fold_style


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """None: it has none, or that is not known yet.

    Attributes:
        platform: through which it was asked for; `client`: the other program's API that it came through.
        queue_s: seconds that it waited for a device; `took_s`: from then to its end, with loading its model.
        device: that did it; None also for a job that needed none.
        device_s: seconds of the device's time.
        loras: of all its prompts.
    """

    platform: str
    client: str | None
    queue_s: float | None
    took_s: float | None
    device: str | None
    device_s: float | None
    style: str | None
    loras: Sequence[LoraTag]
    sampler: str | None
    schedule: str | None
    steps: int | None
    guidance_scale: float | None
    strength: float | None


def read_facts(job: Job) -> JobFacts:
    options, result = job.options, job.result
    return JobFacts(
        platform=job.origin.platform,
        client=_text(job.origin.extra.get("client")),
        queue_s=_seconds(job.created_at, job.started_at),
        took_s=_seconds(job.started_at, job.finished_at),
        device=_text(result.device) if result is not None else None,
        device_s=result.seconds if result is not None else None,
        style=_text(fold_style(str(original_prompt(options).get("style") or ""))),
        loras=_loras_of(job),
        sampler=_text(options.get("sampler")),
        schedule=_text(options.get("schedule")),
        steps=options.get("steps"),
        guidance_scale=options.get("guidance_scale"),
        strength=options.get("strength"),
    )


def _loras_of(job: Job) -> list[LoraTag]:
    prompts = task_prompts(job.options) if "prompt" in job.options else []
    return list(dict.fromkeys(tag for prompt in prompts for tag in find_lora_tags(prompt)))


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return round(max(0.0, (end - start).total_seconds()), 3) if start and end else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
