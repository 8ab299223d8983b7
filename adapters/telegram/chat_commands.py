"""The commands that are no jobs: lists, one's own settings and data, help."""

import asyncio
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from telegram import InlineKeyboardButton, InlineKeyboardMarkup

from adapters.telegram.bot_api import Spot
from adapters.telegram.bot_client import TooBig
from adapters.telegram.context import NAME, Room
from adapters.telegram.message_parsing import CHAT_VERBS, KNOWN, Heard, author_of
from bot.chat import texts as chat_texts
from bot.chat.admin import Administration, Order
from bot.chat.buttons import Button
from bot.errors import Blocked, JobNotFound, MediaNotFound, UnknownCommand
from bot.jobs import Job, JobState, Media, Origin
from bot.options import clean_text
from bot.ports import Person
from bot.usecases import Ticket

IN_HISTORY = 10
MAX_EXPORT = 49 * 2**20
FORGET, KEEP = "own:forget", "own:keep"
"""What the buttons under the question carry: they only ever touch what belongs to whoever presses them."""
_PAIR = re.compile(r"(?:--)?([A-Za-z_]+)(?:\s*[=:]\s*|\s+|$)(.*)", re.DOTALL)
_NONE = frozenset({"", "none", "default", "reset", "off", "clear"})


@dataclass(frozen=True)
class Asked:
    words: str
    person: Person
    spot: Spot
    locale: str
    heard: Heard
    late_s: int


class Verbs:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._usecases = room.usecases
        self._administration = Administration(room.usecases)

    async def answer(self, heard: Heard, person: Person, spot: Spot, locale: str, *, late_s: int) -> None:
        """Raises: UserError."""
        if heard.verb not in CHAT_VERBS:
            near = difflib.get_close_matches(heard.verb, KNOWN, 1)
            raise UnknownCommand(clean_text(heard.verb)[:40], list(chat_texts.HELP), near[0] if near else "")
        asked = Asked(heard.words, person, spot, locale, heard, late_s)
        await getattr(self, f"_{heard.verb}")(asked)

    async def _say(self, asked: Asked, text: str, markup: InlineKeyboardMarkup | None = None) -> None:
        if asked.late_s:
            text = f"{chat_texts.say_late(asked.late_s, asked.locale)}\n{text}"
        await self._room.speaker.say(asked.spot, text, markup)

    # ------------------------------------------------------------ jobs of one's own

    async def _open(self, person: Person) -> list[Ticket]:
        found: list[Ticket] = []
        for state in (JobState.RUNNING, JobState.QUEUED):
            tickets, _ = await self._usecases.jobs.page(person, state=state, limit=50)
            found += tickets
        return found

    async def _queue(self, asked: Asked) -> None:
        await self._say(asked, chat_texts.say_queue(await self._open(asked.person), asked.locale))

    async def _cancel(self, asked: Asked) -> None:
        """One by its name, by a reply to its message, or the only one there is."""
        if asked.words:
            job_id = (await self._usecases.jobs.get(asked.person, asked.words.split()[0].casefold())).job.id
        elif (job := await self._replied_to(asked)) is not None:
            job_id = job.id
        else:
            tickets = await self._open(asked.person)
            if len(tickets) != 1:
                await self._say(asked, chat_texts.say_queue(tickets, asked.locale))
                return
            job_id = tickets[0].job.id
        ticket = await self._usecases.chat.cancel(asked.person, job_id)
        await self._say(asked, chat_texts.say_line(ticket, asked.locale))

    async def _replied_to(self, asked: Asked) -> Job | None:
        if not asked.heard.answered:
            return None
        return await self._usecases.chat.of_message(NAME, f"{asked.spot.chat}:{asked.heard.answered}")

    async def _history(self, asked: Asked) -> None:
        tickets, following = await self._usecases.jobs.page(asked.person, q=asked.words, limit=IN_HISTORY)
        has_more = following is not None
        text = chat_texts.say_history(tickets, asked.locale, has_more=has_more, q=asked.words)
        await self._say(asked, text)

    async def _show(self, asked: Asked) -> None:
        """One of one's own again, pictures and buttons included."""
        if asked.words:
            job = (await self._usecases.jobs.get(asked.person, asked.words.split()[0].casefold())).job
        else:
            replied = await self._replied_to(asked)
            newest = (await self._usecases.jobs.page(asked.person, limit=1))[0]
            if replied is None and not newest:
                raise JobNotFound("")
            job = (await self._usecases.jobs.get(asked.person, replied.id if replied else newest[0].job.id)).job
        here = Origin(platform=NAME, space_id=str(asked.spot.chat), account_id="")
        if not await self._usecases.moderation.may_show(here, job):
            raise Blocked("adult_here")
        pictures = await self._pictures(job)
        if not pictures:
            ticket = await self._usecases.jobs.ticket(job)
            sent = await self._room.speaker.say(asked.spot, chat_texts.say_show(ticket, asked.locale))
            ref = f"{sent.chat.id}:{sent.message_id}" if sent else None
        else:
            ref = await self._room.speaker.deliver(
                asked.spot.chat, lambda: self._room.replies.show(asked.spot, job, pictures)
            )
        if ref is not None:
            await self._usecases.chat.note(job, NAME, ref)

    async def _pictures(self, job: Job) -> list[Media]:
        made = job.result.media if job.result else ()
        try:
            return [await self._usecases.media.store.read(one.id, None) for one in made]
        except MediaNotFound:
            return []

    # ------------------------------------------------------------ one's own settings and figures

    async def _quota(self, asked: Asked) -> None:
        limit = self._usecases.jobs.daily_s(asked.person)
        quota = await self._usecases.people.quota(asked.person, limit)
        await self._say(asked, chat_texts.say_quota(quota, asked.locale))

    async def _settings(self, asked: Asked) -> None:
        """`/settings`, `/settings steps 30`, `/settings --steps=30`, `/settings steps default`."""
        people, values = self._usecases.people, await self._usecases.people.defaults(asked.person)
        pair = _PAIR.fullmatch(asked.words)
        if asked.words and pair is None:
            await people.set_default(asked.person, asked.words, "")
        if pair is not None:
            name, value = pair.group(1), pair.group(2).strip()
            if value.casefold() in _NONE:
                values = await people.clear_default(asked.person, name)
            else:
                values = await people.set_default(asked.person, name, value)
        await self._say(asked, chat_texts.say_settings(_as_flags(values), asked.locale))

    async def _privacy(self, asked: Asked) -> None:
        """What is kept, a copy of it, or its end. A copy is never sent where others can see it."""
        match asked.words.casefold().split():
            case ["export", *_] if asked.heard.is_private:
                await self._export(asked)
            case ["forget", *_]:
                sure = [
                    InlineKeyboardButton(chat_texts.say_button(Button(action, ""), asked.locale), callback_data=data)
                    for action, data in (("delete", FORGET), ("cancel", KEEP))
                ]
                text = chat_texts.say_text(chat_texts.CONFIRM_FORGET, asked.locale)
                await self._say(asked, text, InlineKeyboardMarkup([sure]))
            case ["export", *_]:
                await self._say(asked, chat_texts.say_text(chat_texts.IN_PRIVATE, asked.locale))
            case _:
                await self._say(asked, chat_texts.say_privacy(asked.locale))

    async def _export(self, asked: Asked) -> None:
        path = await self._usecases.people.export(asked.person, max_bytes=MAX_EXPORT)
        try:
            archive = Media(await asyncio.to_thread(path.read_bytes), "application/zip")
        finally:
            path.unlink(missing_ok=True)
        caption, chat = chat_texts.say_text(chat_texts.EXPORTED, asked.locale), asked.spot.chat
        try:
            await self._room.speaker.deliver(
                chat, lambda: self._room.wire.document(asked.spot, archive, "easel-export", caption)
            )
        except TooBig:
            await self._say(asked, chat_texts.say_text(chat_texts.TOO_LARGE_TO_SEND, asked.locale))

    # ------------------------------------------------------------ about the house

    async def _models(self, asked: Asked) -> None:
        await self._say(asked, chat_texts.say_models(self._usecases.models, asked.locale))

    async def _admin(self, asked: Asked) -> None:
        """`/admin models`, `/admin models use NAME --accept`, `/admin policy spoiler`."""
        order = Order.read(asked.words, asked.locale)
        is_admin = self._room.is_admin(author_of(asked.heard.message))
        text = await self._administration.perform(
            order, is_admin=is_admin, platform=NAME, space_id=str(asked.spot.chat)
        )
        await self._say(asked, text)

    async def _help(self, asked: Asked) -> None:
        await self._say(asked, chat_texts.say_help(asked.locale, NAME))

    async def _start(self, asked: Asked) -> None:
        await self._help(asked)


def _as_flags(values: Mapping[str, object]) -> Mapping[str, object]:
    """Under the names that people type."""
    short = {"guidance_scale": "guidance", "negative_prompt": "negative"}
    return {short.get(name, name): value for name, value in values.items()}
