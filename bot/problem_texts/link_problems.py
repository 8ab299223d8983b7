"""Errors of linking and unlinking accounts, with their sentences."""

from collections.abc import Mapping

from bot.errors import UserError
from bot.i18n import N_


class LinkRefused(UserError):
    """Accounts are not linked or unlinked. `problem` is a key of `LINK_PROBLEMS`."""

    code = "link_refused"

    def __init__(self, problem: str) -> None:
        super().__init__()
        self.problem = problem


class TooManyCodes(UserError):
    """An account tried too many wrong codes."""

    code = "too_many_requests"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


LINK_PROBLEMS: Mapping[str, str] = {
    "code_form": N_("A code has eight letters and digits, such as 7K4M-Q2XP. Get one with /link or on the page."),
    "wrong_code": N_(
        "This code is not valid. Get a new one with /link or on the page, and enter it within 10 minutes."
    ),
    "expired_code": N_(
        "This code has expired: codes are valid for 10 minutes. Get a new one with /link or on the page."
    ),
    "used_code": N_("This code has already been used. Get a new one with /link or on the page."),
    "own_code": N_("This is your own code. Enter it from your other account or on the page."),
    "linked": N_("These accounts are already linked."),
    "open_jobs": N_(
        "One of the two accounts has queued or running jobs. Wait until they finish, or cancel them first."
    ),
    "deliveries": N_("A message to one of the two accounts is still being delivered. Try again in a minute."),
    "no_quota": N_("An admin has set the daily quota of one of the two accounts to 0, so it cannot be linked."),
    "blocked": N_("An admin has blocked one of the two accounts, so it cannot be linked."),
    "not_linked": N_("You have no linked account on that platform."),
    "several_accounts": N_(
        "Linked accounts are deleted together. Send /privacy forget to see which ones, then confirm."
    ),
    "only_account": N_("This account is not linked to another one, so there is nothing to unlink."),
}
TOO_MANY_CODES = N_("You have entered too many wrong codes. Try again in {minutes} min.")
NOTHING_FOUND: Mapping[str, str] = {
    "": N_("Not found."),
    "job": N_("You have no jobs yet."),
    "installation": N_("Nothing was installed or compiled for this model since the server started: start it again."),
    "person": N_("Your accounts were just linked or deleted, so nothing was done. Please send the request again."),
}
"""By the kind of object that was not found and has no name. "person": the request began before the accounts changed."""
