"""Jobs and keys as JSON. A job is told as REST tells it, so that scripts see one shape everywhere."""

from typing import Any

from adapters.web.views import job_json, moment
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
        "created_at": moment(key.created_at),
        "last_used_at": moment(key.last_used_at),
        "revoked_at": moment(key.revoked_at),
    }
