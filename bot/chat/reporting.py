"""Reports of the bot's own messages, by button or message menu."""

from collections.abc import Mapping

from bot.chat.buttons import Button
from bot.chat.follow_ups import shows_job
from bot.chat.texts import BUTTON_EXPIRED, format_text
from bot.i18n import N_
from bot.ports import Person, SaveOutcome
from bot.usecases import UseCases

NOTHING_TO_REPORT = N_("This message shows nothing I made, so there is nothing to report.")
CONFIRMATIONS: Mapping[SaveOutcome, str] = {
    "saved": N_("Thank you. The admins will review it. Nobody else can see that you reported it."),
    "known": N_("You have already reported this. Thank you."),
    "limit": N_("You have reached today's limit for reports, so this one was not saved. Please contact an admin."),
}
"""Shown only to the person who reports."""


async def report_by_button(
    usecases: UseCases, person: Person, platform: str, button: Button, message_ref: str, locale: str
) -> str:
    """Report the job that a button names, which may be forged: the message must show that job.

    Raises: JobNotFound, NotFound.
    """
    if not await shows_job(usecases, person, platform, button, message_ref):
        return format_text(BUTTON_EXPIRED, locale)
    outcome = await usecases.reports.report_job(person, button.job_id, picture=button.number)
    return format_text(CONFIRMATIONS[outcome], locale)


async def report_message(
    usecases: UseCases, person: Person, platform: str, message_ref: str, reason: str, locale: str
) -> str:
    """Report the content of one of the bot's messages. Raises: JobNotFound, NotFound."""
    job = await usecases.chat.job_of_message(platform, message_ref)
    if job is None:
        return format_text(NOTHING_TO_REPORT, locale)
    picture = await usecases.chat.picture_of_message(platform, message_ref)
    outcome = await usecases.reports.report_job(person, job.id, picture=picture, reason=reason)
    return format_text(CONFIRMATIONS[outcome], locale)
