"""Presses of buttons. Each is answered, whatever it carried, so that no button keeps turning.

What a press carries may be forged, so a button that goes on from a job counts only under a message of that job.
"""

import base64
from dataclasses import dataclass

import structlog
from telegram import CallbackQuery, MaybeInaccessibleMessage, Message

from adapters.telegram.bot_api import Spot, of_ref, ref_of, spot_of
from adapters.telegram.bot_client import Unanswered
from adapters.telegram.chat_commands import FORGET, KEEP
from adapters.telegram.context import ASK, EDIT, NAME, OFFER, Room, origin_of
from bot import error_texts
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button, parse_button
from bot.errors import MessageGone, NotYours, PlatformError, UserError
from bot.jobs import Job, Media, Origin
from bot.ports import Person

log = structlog.get_logger()
MAX_DOCUMENT = 49 * 2**20
NOTHING = Media(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAgCAAAAACH9iFYAAAAIUlEQVR42mM8wUAZYGIYNWDUgFEDRg0YNWDUgFEDhpkBAGTBAQhiTbZu"
        "AAAAAElFTkSuQmCC"
    ),
    "image/png",
)
"""What takes the place of a picture that Telegram lets nobody delete any more."""


@dataclass(frozen=True)
class Press:
    """A button pressed under `message`. `key` names the press for ever."""

    query: CallbackQuery
    message: MaybeInaccessibleMessage
    person: Person
    origin: Origin
    key: str

    @property
    def ref(self) -> str:
        return f"{self.message.chat.id}:{self.message.message_id}"

    @property
    def spot(self) -> Spot:
        return Spot(self.message.chat.id, int(self.origin.thread_id or 0), self.message.message_id)


class Buttons:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._chat = room.usecases.chat

    async def press(self, query: CallbackQuery, key: str) -> None:
        """Raises: PlatformError and StorageBusy (to be tried again)."""
        locale = query.from_user.language_code or "en"
        if query.message is None:  # under a message sent through inline mode, which we never do
            await self._answer(query, chat_texts.say_text(chat_texts.BUTTON_OLD, locale), is_alert=True)
            return
        press = await self._press(query, query.message, key, locale)
        try:
            words = await self._do(press, query.data or "", locale)
        except UserError as error:
            await self._answer(query, error_texts.explain(error, locale=locale), is_alert=True)
        else:
            await self._answer(query, words)

    async def _press(self, query: CallbackQuery, message: MaybeInaccessibleMessage, key: str, locale: str) -> Press:
        spot, has_spoiler = Spot(message.chat.id, 0, message.message_id), False
        if isinstance(message, Message):
            spot, has_spoiler = spot_of(message), bool(message.has_media_spoiler)
        origin = origin_of(
            message.chat,
            spot,
            str(query.from_user.id),
            locale,
            has_spoiler=has_spoiler,
            is_admin=self._room.is_admin(str(query.from_user.id)),
        )
        person = await self._room.person_of_user(query.from_user)
        return Press(query, message, person, origin, f"{NAME}:{key}")

    async def _answer(self, query: CallbackQuery, words: str = "", *, is_alert: bool = False) -> None:
        """Telegram waits some seconds for it; afterwards nobody needs it any more."""
        try:
            await self._room.wire.answer(query.id, words, is_alert=is_alert)
        except PlatformError as error:
            log.info("a press was not answered", action="press_unanswered", detail=error.detail)

    # ------------------------------------------------------------ what each does

    async def _do(self, press: Press, data: str, locale: str) -> str:
        """Returns what pops up. Raises: UserError."""
        if data in (FORGET, KEEP):
            return await self._forget(press, data, locale)
        button = parse_button(data)
        if button is None:
            return chat_texts.say_text(chat_texts.BUTTON_OLD, locale)
        match button.action:
            case "cancel":
                return chat_texts.say_state(await self._chat.cancel(press.person, button.job_id), locale)
            case "delete":
                return await self._delete(press, button, locale)
        job = await self._seen(press, button)
        if job is None:
            return chat_texts.say_text(chat_texts.BUTTON_OLD, locale)
        return await self._go_on(press, button, job, locale)

    async def _go_on(self, press: Press, button: Button, job: Job, locale: str) -> str:
        person, origin, key = press.person, press.origin, press.key
        match button.action:
            case "reroll":
                await self._chat.reroll(person, origin, job.id, key=key)
            case "vary":
                await self._chat.vary(person, origin, job.id, key=key)
            case "upscale":
                await self._chat.upscale(person, origin, job.id, key=key)
            case "pick":
                await self._chat.pick(person, origin, job.id, button.number, key=key)
            case "original":
                await self._original(press, job)
            case "ask" | "edit":
                await self._ask_back(press, button, job, locale)
            case _:
                return chat_texts.say_text(chat_texts.BUTTON_OLD, locale)
        return ""

    async def _seen(self, press: Press, button: Button) -> Job | None:
        """The button's job, if the message that it stands under is one of the job's."""
        for purpose in ("", OFFER):
            job = await self._chat.of_message(NAME, press.ref + purpose)
            if job is not None:
                return job if job.id == button.job_id else None
        return None

    # ------------------------------------------------------------ asking and editing

    async def _ask_back(self, press: Press, button: Button, job: Job, locale: str) -> str:
        """Under an offer the words are there already: the message that it answers. Otherwise they are asked for."""
        words = await self._words_offered(press)
        if words:
            go_on = self._chat.ask if button.action == "ask" else self._chat.edit
            await go_on(press.person, press.origin, job.id, words, key=press.key)
            await self._take_away(press.ref)
            return ""
        sentence, purpose = (chat_texts.WHAT_TO_ASK, ASK) if button.action == "ask" else (chat_texts.HOW_TO_EDIT, EDIT)
        sent = await self._room.speaker.say(press.spot, chat_texts.say_text(sentence, locale))
        if sent is not None:
            await self._chat.note(job, NAME, ref_of(sent) + purpose)
        return ""

    async def _words_offered(self, press: Press) -> str:
        if await self._chat.of_message(NAME, press.ref + OFFER) is None or not isinstance(press.message, Message):
            return ""
        asked = press.message.reply_to_message
        return (asked.text or asked.caption or "") if asked is not None else ""

    # ------------------------------------------------------------ originals

    async def _original(self, press: Press, job: Job) -> None:
        """The files as rendered; pressed again they are sent again, without being uploaded anew by anybody."""
        files = []
        for file in await self._chat.original(press.person, job.id):
            fitting, _ = await self._room.usecases.media.fit(file, MAX_DOCUMENT)
            files.append(fitting)
        wire, name = self._room.wire, f"easel-{job.id}"

        async def send() -> list[Message]:
            if len(files) == 1:
                return [await wire.document(press.spot, files[0], name)]
            return await wire.documents(press.spot, files, name)

        for message in await self._room.speaker.deliver(press.spot.chat, send) or []:
            await self._chat.note(job, NAME, ref_of(message))

    # ------------------------------------------------------------ taking away

    async def _delete(self, press: Press, button: Button, locale: str) -> str:
        job = await self._chat.of_message(NAME, press.ref)
        if job is not None and job.id != button.job_id:
            return chat_texts.say_text(chat_texts.BUTTON_OLD, locale)
        if job is not None and job.owner != press.person.id:
            raise NotYours(job.id)
        refs = await self._chat.messages_of(button.job_id, NAME)
        await self._chat.delete(press.person, button.job_id)
        for ref in {press.ref, *(ref.partition("#")[0] for ref in refs)}:
            await self._take_away(ref)
        return chat_texts.say_text(chat_texts.DELETED, locale)

    async def _take_away(self, ref: str) -> None:
        """Delete the message; what is too old for that is emptied."""
        wire = self._room.wire
        try:
            await wire.delete(ref)
        except (MessageGone, Unanswered):
            pass
        except PlatformError:
            await self._empty(ref)

    async def _empty(self, ref: str) -> None:
        async def put() -> None:
            await self._room.wire.edit_photo(ref, NOTHING, chat_texts.say_text(chat_texts.DELETED), None)

        await self._room.speaker.deliver(of_ref(ref)[0], put)

    # ------------------------------------------------------------ one's own data

    async def _forget(self, press: Press, data: str, locale: str) -> str:
        """Only ever of whoever presses, and who was asked whether it is meant."""
        asked = press.message.reply_to_message if isinstance(press.message, Message) else None
        is_of_a_job = await self._chat.of_message(NAME, press.ref) is not None
        if is_of_a_job or asked is None or asked.from_user is None or asked.from_user.id != press.query.from_user.id:
            return chat_texts.say_text(chat_texts.BUTTON_OLD, locale)
        if data == FORGET:
            await self._room.usecases.people.forget(press.person)
        await self._take_away(press.ref)
        return chat_texts.say_text(chat_texts.FORGOTTEN, locale) if data == FORGET else ""
