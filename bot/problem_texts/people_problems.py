"""Why something is not done for a person: sentences for people and admins."""

from collections.abc import Mapping

from bot.i18n import N_
from bot.problem_texts.correction_problems import CORRECTION_PROBLEMS

BLOCKED_PERSON = N_(
    "An admin has blocked you here, so nothing new is made for you. You can still see, download and delete what you "
    "have."
)
PEOPLE_PROBLEMS: Mapping[str, str] = {
    "has_jobs": N_(
        "{value} has pictures here, which a key would show. On the server's machine, the owner can create the key with "
        "`easel keys create`."
    ),
    "not_blockable": N_("{value} cannot be blocked: the owner of this server and you yourself always have access."),
    "confirm_forget": N_("To delete everything that is kept about you, send {option} with the value true."),
    **CORRECTION_PROBLEMS,
}
"""By the problem of an option."""
