"""How a text ended, and how many tokens it took, as both APIs for texts say it."""

from collections.abc import Sequence
from typing import Any

from adapters.openai.text_deltas import cut_at_stop
from bot.jobs import Job, TextUsage


def text_of(job: Job, stop: Sequence[str] = ()) -> str:
    """The answer, up to the first of the texts that end it; "" before there is one."""
    return cut_at_stop((job.result.text or "") if job.result is not None else "", stop)


def is_cut(job: Job, stop: Sequence[str] = ()) -> bool:
    """Whether the answer may be longer than it was allowed to be. One that a stop text ended is complete."""
    return _tokens_of(job).is_cut and text_of(job, stop) == text_of(job)


def chat_usage(job: Job) -> dict[str, int]:
    tokens = _tokens_of(job)
    return {
        "prompt_tokens": tokens.read,
        "completion_tokens": tokens.written,
        "total_tokens": tokens.read + tokens.written,
    }


def response_usage(job: Job) -> dict[str, Any]:
    tokens = _tokens_of(job)
    return {
        "input_tokens": tokens.read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": tokens.written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens.read + tokens.written,
    }


def _tokens_of(job: Job) -> TextUsage:
    """None are known of jobs that are older than their record."""
    return (job.result.usage if job.result is not None else None) or TextUsage()
