"""What is done about what was heard: jobs asked for, lists shown, hints given. Everything is decided by use cases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from adapters.telegram.bot_api import Spot, ref_of, spot_of
from adapters.telegram.chat_commands import Verbs
from adapters.telegram.context import ASK, EDIT, NAME, OFFER, Room, origin_of
from adapters.telegram.delivery import keyboard
from adapters.telegram.message_parsing import Heard, author_of
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button
from bot.chat.question_detector import is_question
from bot.commands import COMMANDS
from bot.errors import UnsupportedMedia
from bot.jobs import ImageRef, Job, Origin
from bot.models import IMAGE_TEXT_TO_IMAGE
from bot.options import pop_flag
from bot.ports import Person
from bot.usecases import Request

LATE_S = 600.0
"""What was said longer ago is answered with a word about it."""


@dataclass(frozen=True)
class Turn:
    """One thing said, by whom, and where the answer belongs. `key` names the event for ever."""

    heard: Heard
    person: Person
    origin: Origin
    spot: Spot
    key: str
    late_s: int

    @property
    def locale(self) -> str:
        return self.origin.locale


class Talk:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._verbs = Verbs(room)

    async def answer(self, heard: Heard, key: str) -> None:
        """Raises: UserError (to be explained), PlatformError and StorageBusy (to be tried again)."""
        turn = await self._turn(heard, key)
        if heard.verb in COMMANDS:
            await self._ask_for(turn)
        elif heard.verb:
            await self._verbs.answer(heard, turn.person, turn.spot, turn.locale, late_s=turn.late_s)
        elif heard.answered:
            await self._go_on(turn)
        elif heard.is_private:
            await self._hint(turn)
        elif heard.words:
            await self._say(turn, chat_texts.HINT)

    async def _turn(self, heard: Heard, key: str) -> Turn:
        message = heard.message
        spot, locale = spot_of(message), locale_of(message)
        replied = message.reply_to_message
        age_s = (datetime.now(UTC) - message.date).total_seconds()
        late_s = int(age_s) if age_s > LATE_S else 0
        origin = origin_of(
            message.chat,
            spot,
            author_of(message),
            locale,
            reply_to=replied.message_id if replied else 0,
            has_spoiler=heard.has_spoiler,
            late_s=late_s,
            is_admin=self._room.is_admin(author_of(message)),
        )
        return Turn(heard, await self._room.person_of(message), origin, spot, f"{NAME}:{key}", late_s)

    # ------------------------------------------------------------ jobs

    async def _ask_for(self, turn: Turn) -> None:
        """A command, with the pictures that it brought, or those of the message that it replies to. Of an album, as
        many as it takes; of a job's own pictures one, where each is not answered for."""
        heard = turn.heard
        kind, photos = COMMANDS[heard.verb], heard.photos or heard.shown
        if heard.is_unreadable and not photos:
            raise UnsupportedMedia("not_a_picture")
        most = max(kind.images_allowed, kind.album_allowed)
        images: tuple[ImageRef, ...] = ()
        parent = None
        if photos and most:
            images = await self._room.pictures.of(turn.person, photos[:most])
        elif most and (parent := (await self._found(turn))[0]) is not None:
            images = await self._room.usecases.chat.pictures_for(turn.person, parent.id)
            most = max(1, kind.album_allowed)
        await self._submit(turn, heard.verb, heard.words, images[:most], parent)

    async def _submit(self, turn: Turn, verb: str, words: str, images: Sequence[ImageRef], parent: Job | None) -> None:
        role = (*COMMANDS[verb].roles, "init")[0]
        words, is_confirmed = pop_flag(words, "confirm")
        request = Request(
            origin=turn.origin,
            command=verb,
            line=words,
            images=tuple(replace(image, role=role) for image in images),
            parent=parent.id if parent else None,
            wants_delivery=True,
            use_defaults=True,
            is_confirmed=is_confirmed,
        )
        await self._room.usecases.jobs.submit(turn.person, request, key=turn.key)

    async def _found(self, turn: Turn) -> tuple[Job | None, str]:
        """The job of the bot's message replied to, and what that message was for beside showing it."""
        if not turn.heard.answered:
            return None, ""
        ref = f"{turn.heard.message.chat.id}:{turn.heard.answered}"
        for purpose in ("", ASK, EDIT, OFFER):
            job = await self._room.usecases.chat.of_message(NAME, ref + purpose)
            if job is not None:
                return job, purpose
        return None, ""

    # ------------------------------------------------------------ replies

    async def _go_on(self, turn: Turn) -> None:
        """A reply to one of the bot's messages: a question about its picture, a wish, or it is asked which."""
        job, purpose = await self._found(turn)
        words, chat = turn.heard.words, self._room.usecases.chat
        if job is None or not words:
            if turn.heard.is_private:
                await self._hint(turn)
        elif purpose == EDIT:
            await chat.edit(turn.person, turn.origin, job.id, words, key=turn.key)
        elif purpose == ASK or is_question(words):
            await chat.ask(turn.person, turn.origin, job.id, words, key=turn.key)
        elif await chat.pictures_of(job):
            await self._offer(turn, job)

    async def _offer(self, turn: Turn, job: Job) -> None:
        can_edit = self._room.usecases.models.default_for(IMAGE_TEXT_TO_IMAGE) is not None
        wishes = [Button("edit", job.id)] if can_edit else []
        buttons = keyboard([*wishes, Button("ask", job.id)], turn.locale)
        text = chat_texts.say_text(chat_texts.EDIT_OR_ASK if can_edit else chat_texts.ONLY_ASK, turn.locale)
        sent = await self._room.speaker.say(turn.spot, text, buttons)
        if sent is not None:
            await self._room.usecases.chat.note(job, NAME, ref_of(sent) + OFFER)

    # ------------------------------------------------------------ hints

    async def _hint(self, turn: Turn) -> None:
        heard = turn.heard
        if heard.is_unreadable:
            await self._say(turn, chat_texts.ONLY_PICTURES)
        elif heard.photos or heard.shown:
            await self._say(turn, chat_texts.PHOTO_HINT)
        else:
            await self._say(turn, chat_texts.HINT)

    async def _say(self, turn: Turn, sentence: str) -> None:
        """As a refusal: whoever sends twenty stickers is not told twenty times. What the library could not read in the
        message it could not read in our reply to it, so in a private chat such a message is not quoted."""
        spot = Spot(turn.spot.chat) if turn.heard.is_private and turn.heard.is_unreadable else turn.spot
        said = chat_texts.say_text(sentence, turn.locale)
        await self._room.speaker.say(spot, said, refused=turn.origin.account_id)


def locale_of(message: object) -> str:
    """The language that the person's own Telegram is in."""
    user = getattr(message, "from_user", None)
    return (user.language_code if user is not None else None) or "en"
