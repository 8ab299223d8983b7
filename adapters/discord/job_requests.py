"""Submits jobs with their images, and settles the deferred answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from adapters.discord.events import PLATFORM
from adapters.discord.responder import Responder
from bot.chat.flagged_images import find_images, read_flags
from bot.chat.plugin_replies import run_plugin_command
from bot.commands import COMMANDS, Command
from bot.commands.image_flags import ImageFlag
from bot.jobs import ImageRef, Job
from bot.options import pop_flag
from bot.ports import Person
from bot.usecases import Request, Ticket

CONTROL_KIND_OPTION, FLAGS_OPTION = "control_kind", "flags"
"""Options of a slash command about its control, and for all that is typed elsewhere."""


async def submit_job(
    responder: Responder,
    person: Person,
    command: str,
    options: Mapping[str, Any],
    images: Sequence[ImageRef],
    *,
    spoiler: bool = False,
    is_confirmed: bool = False,
    key: str = "",
) -> None:
    """`key`: the idempotency key, if it is not the event's."""
    request = Request(
        origin=responder.event.origin(spoiler=spoiler),
        command=command,
        options=dict(options),
        images=_as_many_as_allowed(COMMANDS[command], images),
        wants_delivery=True,
        use_defaults=True,
        is_confirmed=is_confirmed,
    )
    tickets = await responder.usecases.jobs.submit(person, request, key=key or responder.event.job_key)
    await settle_deferral(responder, tickets)


async def submit_command(responder: Responder, person: Person, command: str, options: Mapping[str, Any]) -> None:
    """A slash command, whose option `flags` may have further options. Raises: UserError."""
    kind, event = COMMANDS[command], responder.event
    given = dict(options)
    control_kind = str(given.pop(CONTROL_KIND_OPTION, ""))
    line, is_confirmed = pop_flag(str(given.pop(FLAGS_OPTION, "")), "confirm")
    is_confirmed = given.pop("confirm", False) is True or is_confirmed
    values, flags = read_flags(kind, line, given)
    if control_kind:
        flags.insert(0, ImageFlag(name="control", role="control", kind=control_kind))
    uploaded = await responder.context.upload_attachments(person, event.pictures)
    images = await find_images(responder.usecases, person, event.origin(), kind, flags, uploaded)
    await submit_job(responder, person, command, values, images, is_confirmed=is_confirmed)


async def submit_plugin_command(responder: Responder, person: Person) -> str:
    """A slash command of a plugin; returns its text, if it is answered with one. Raises: UserError."""
    event = responder.event
    request = Request(
        origin=event.origin(),
        command=event.name,
        options=dict(event.options),
        images=tuple(await responder.context.upload_attachments(person, event.pictures)),
        wants_delivery=True,
        use_defaults=True,
    )
    tickets, text = await run_plugin_command(responder.usecases, person, request, key=event.job_key)
    if tickets:
        await settle_deferral(responder, tickets)
    return text


def _as_many_as_allowed(kind: type[Command], images: Sequence[ImageRef]) -> tuple[ImageRef, ...]:
    """Without further pictures of a message; masks, controls and references do not count."""
    role = next(iter(kind.roles), "init")
    pictures = [replace(one, role=role) for one in images if one.role in ("init", role)][: kind.images_allowed]
    return (*pictures, *(one for one in images if one.role not in ("init", role)))


async def settle_deferral(responder: Responder, tickets: Sequence[Ticket]) -> None:
    """The placeholder replaces the deferral; a deferral left by an earlier attempt at the event is deleted here."""
    responder.context.forget_recent_jobs(responder.event.account_id)
    if all(ticket.job.origin.extra.get("response") != responder.event.response_id for ticket in tickets):
        await responder.delete_deferral()


async def input_images(responder: Responder, person: Person, job: Job | None, picture: int = 0) -> tuple[ImageRef, ...]:
    """A job's pictures, or one of them, shared with the person; without a job, the attached ones, uploaded."""
    if job is None:
        return await responder.context.upload_attachments(person, responder.event.pictures)
    return await responder.usecases.chat.share_images(person, job.id, responder.event.origin(), picture=picture)


async def find_target_job(responder: Responder) -> Job | None:
    if not responder.event.target:
        return None
    return await responder.usecases.chat.job_of_message(PLATFORM, responder.event.target)
