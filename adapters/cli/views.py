"""Jobs and keys as JSON. Jobs have the same shape as in REST, so scripts see one format everywhere."""

from typing import Any

from adapters.web.views import format_time, job_json
from bot.jobs import JobState
from bot.ports import ApiKey

JobBody = dict[str, Any]
"""The body of `GET /jobs/{id}`."""

FINAL = frozenset(state.value for state in JobState if state.is_final)
DONE = frozenset({JobState.RENDERED.value, JobState.DELIVERED.value})

job_body = job_json


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
