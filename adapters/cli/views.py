"""Jobs, keys and people as JSON. Jobs have the same shape as in REST, so scripts see one format everywhere."""

from typing import Any

from adapters.web.batch_views import batch_json
from adapters.web.views import RETIRED, format_time, job_json, saved_correction_json
from bot.jobs import JobState
from bot.ports import ApiKey, PersonSummary

JobBody = dict[str, Any]
"""The body of `GET /jobs/{id}`."""

FINAL = frozenset(state.value for state in JobState if state.is_final)
DONE = frozenset({JobState.RENDERED.value, JobState.DELIVERED.value})

job_body = job_json
batch_body = batch_json
saved_correction_body = saved_correction_json
RETIRED_HEADER = RETIRED


def key_body(key: ApiKey) -> dict[str, Any]:
    """The body of `/internal/keys`."""
    return {
        "prefix": key.prefix,
        "person": key.person.name,
        "admin": key.is_admin,
        "created_at": format_time(key.created_at),
        "last_used_at": format_time(key.last_used_at),
        "revoked_at": format_time(key.revoked_at),
    }


def person_body(summary: PersonSummary) -> dict[str, Any]:
    """As in REST, without usage and keys."""
    return {
        "id": summary.person.id,
        "name": summary.person.name,
        "accounts": [{"platform": platform, "account": account} for platform, account in summary.accounts],
        "jobs": summary.jobs,
        "blocked": summary.person.is_blocked,
    }
