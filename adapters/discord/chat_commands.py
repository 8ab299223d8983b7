"""Short answers that only their person sees: queue, history, settings and the like."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

import discord
import structlog

from adapters.discord import rendering, texts
from adapters.discord.error_mapping import translate_errors
from adapters.discord.responder import Responder
from bot.chat import texts as chat_texts
from bot.chat.admin import Administration, Order
from bot.error_texts import explain
from bot.errors import Blocked, PictureGone, PlatformError, TooLarge
from bot.jobs import Job, JobState, Media
from bot.ports import Person

log = structlog.get_logger()

SHOWN = 10
MAX_FILES = 10

Chore = Callable[[Responder, Person], Awaitable[None]]


async def run_chat_command(turn: Responder) -> None:
    chore = CHORES.get(turn.event.name)
    if chore is None:
        await turn.reply(chat_texts.say_text(texts.UNKNOWN_COMMAND, turn.event.locale))
        return
    await chore(turn, await turn.context.identify_person(turn.event))


def _given(turn: Responder, name: str) -> str:
    return str(turn.event.options.get(name) or "").strip()


async def _help(turn: Responder, person: Person) -> None:
    await turn.reply(chat_texts.say_help(turn.event.locale, "discord"))


async def _models(turn: Responder, person: Person) -> None:
    await turn.reply(chat_texts.say_models(turn.context.usecases.models, turn.event.locale))


async def _admin(turn: Responder, person: Person) -> None:
    event, options = turn.event, turn.event.options
    order = Order(
        what=_given(turn, "what").casefold(),
        action=_given(turn, "action").casefold(),
        name=_given(turn, "model").casefold(),
        accepts=options.get("accept") is True,
        edit_others=options.get("edit_others"),
        locale=event.locale,
    )
    administration = Administration(turn.context.usecases)
    text = await administration.perform(
        order, is_admin=event.is_admin, platform="discord", space_id=event.origin().space_id
    )
    await turn.reply(text)


async def _queue(turn: Responder, person: Person) -> None:
    page = turn.context.usecases.jobs.page
    running, _ = await page(person, state=JobState.RUNNING, limit=SHOWN)
    queued, _ = await page(person, state=JobState.QUEUED, limit=SHOWN)
    await turn.reply(chat_texts.say_queue([*running, *queued], turn.event.locale))


async def _cancel(turn: Responder, person: Person) -> None:
    ticket = await turn.context.usecases.jobs.get(person, _given(turn, "id"))
    ticket = await turn.context.usecases.jobs.cancel(person, ticket.job.id)
    await turn.reply(chat_texts.say_state(ticket, turn.event.locale))


async def _history(turn: Responder, person: Person) -> None:
    q = _given(turn, "search")[:200]
    tickets, following = await turn.context.usecases.jobs.page(person, q=q, limit=SHOWN)
    text = chat_texts.say_history(tickets, turn.event.locale, has_more=following is not None, q=q)
    await turn.reply(text)


async def _show(turn: Responder, person: Person) -> None:
    ticket = await turn.context.usecases.jobs.get(person, _given(turn, "id"))
    job = ticket.job
    text = chat_texts.say_show(ticket, turn.event.locale)
    pictures: list[Media] = []
    if not await turn.context.usecases.moderation.may_show(turn.event.origin(), job):
        await turn.reply(f"{text}\n{explain(Blocked('adult_here'), locale=turn.event.locale)}")
        return
    if job.result and job.result.media:
        with suppress(PictureGone):
            pictures = await turn.context.usecases.chat.original(person, job.id)
    if not pictures:
        await turn.reply(text)
        return
    fitting = [await _fit(turn, one, len(pictures)) for one in pictures[:MAX_FILES]]
    files = _files(turn, job, [one for one in fitting if one is not None])
    if await turn.reply(text, files=files) is None:  # it takes the words, if not the pictures
        await turn.reply(text)


async def _fit(turn: Responder, picture: Media, count: int) -> Media | None:
    limit = rendering.max_file_bytes(turn.event.size_limit, count)
    try:
        return (await turn.context.usecases.media.fit(picture, limit))[0]
    except TooLarge:
        return None


def _files(turn: Responder, job: Job, pictures: list[Media]) -> list[discord.File]:
    spoiler = rendering.is_spoiler(job) or turn.event.spoiler
    alt = str(job.options.get("prompt") or "")
    return [rendering.build_file(job, index, one, alt=alt, spoiler=spoiler) for index, one in enumerate(pictures)]


async def _quota(turn: Responder, person: Person) -> None:
    jobs = turn.context.usecases.jobs
    quota = await turn.context.usecases.people.quota(person, jobs.daily_s(person))
    await turn.reply(chat_texts.say_quota(quota, turn.event.locale))


async def _settings(turn: Responder, person: Person) -> None:
    people = turn.context.usecases.people
    option, value = _given(turn, "option"), _given(turn, "value")
    if value and not option:
        await turn.reply(chat_texts.say_text(texts.SETTING_NEEDS_OPTION, turn.event.locale))
        return
    if not option:
        kept = await people.defaults(person)
    elif value:
        kept = await people.set_default(person, option, value)
    else:
        kept = await people.clear_default(person, option)
    await turn.reply(chat_texts.say_settings(kept, turn.event.locale))


async def _privacy(turn: Responder, person: Person) -> None:
    match _given(turn, "what"):
        case "export":
            await _export(turn, person)
        case "forget" if turn.event.options.get("confirm") is True:
            await turn.context.usecases.people.forget(person)
            turn.context.forget_recent_jobs(turn.event.account_id)
            await turn.reply(chat_texts.say_text(chat_texts.FORGOTTEN, turn.event.locale))
        case "forget":
            asked = chat_texts.say_text(chat_texts.CONFIRM_FORGET, turn.event.locale)
            await turn.reply(f"{asked} {chat_texts.say_text(texts.FORGET_FIRST, turn.event.locale)}")
        case _:
            await turn.reply(chat_texts.say_privacy(turn.event.locale))


async def _export(turn: Responder, person: Person) -> None:
    limit = min(turn.event.size_limit or rendering.FILE_LIMIT, rendering.FILE_LIMIT) - rendering.ENVELOPE_BYTES
    path: Path = await turn.context.usecases.people.export(person, max_bytes=limit)
    try:
        file = discord.File(io.BytesIO(await asyncio.to_thread(path.read_bytes)), filename="easel.zip")
        await turn.reply(chat_texts.say_text(chat_texts.EXPORTED, turn.event.locale), files=[file])
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


CHORES: dict[str, Chore] = {
    "admin": _admin,
    "help": _help,
    "models": _models,
    "queue": _queue,
    "cancel": _cancel,
    "history": _history,
    "show": _show,
    "quota": _quota,
    "settings": _settings,
    "privacy": _privacy,
}


# ---------------------------------------------------------------- buttons that ask for no job


async def send_original(turn: Responder, person: Person, job_id: str) -> None:
    """The files as rendered; those that no message of ours can carry are told of."""
    pictures = await turn.context.usecases.chat.original(person, job_id)
    limit = turn.event.size_limit or rendering.FILE_LIMIT
    fitting = [one for one in pictures if len(one.data) <= rendering.max_file_bytes(limit, len(pictures))]
    largest = max(len(one.data) for one in pictures)
    text = ""
    if len(fitting) < len(pictures):
        size = f"{largest / rendering.MIB:.0f}"
        text = chat_texts.say_text(texts.TOO_LARGE_TO_SEND, turn.event.locale, size=size)
    files = [
        discord.File(io.BytesIO(one.data), filename=f"easel-{job_id[:6]}-{index}.png", spoiler=turn.event.spoiler)
        for index, one in enumerate(fitting, 1)
    ]
    await turn.reply(text or job_id[:6], files=files)


async def delete_messages(turn: Responder, refs: Iterable[str]) -> None:
    """These, and the one that the button hung on, if need be by the interaction's token."""
    for ref in {*refs, turn.event.target}:
        try:
            await _delete_message(turn, ref)
        except PlatformError as error:
            log.info("a message stays", action="message_stays", detail=error.detail)
            if ref == turn.event.target and turn.delete_pressed_message is not None:
                with suppress(PlatformError), translate_errors():
                    await turn.delete_pressed_message()


async def _delete_message(turn: Responder, ref: str) -> None:
    channel, _, message = ref.partition(":")
    client = turn.context.connected_client()
    with translate_errors():
        await client.get_partial_messageable(int(channel)).get_partial_message(int(message)).delete()
