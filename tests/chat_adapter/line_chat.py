"""A chat platform in one file: people type lines and read lines. It knows no command by name.

What a new platform has to do: parse with the declared options, render `ChatReply`, deliver jobs. Everything else comes
from the registries `COMMANDS` and `CHAT_COMMANDS`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bot.chat import texts
from bot.chat.arguments import TYPED, parse_arguments
from bot.chat.buttons import Button, offered_buttons, parse_button
from bot.chat.commands import (
    COMMAND_ACTIONS,
    answer_confirmation,
    find_chat_command,
    is_confirmation,
    run_chat_command,
    run_command_button,
)
from bot.chat.follow_ups import JOB_ACTIONS, delete_job, needs_demo_hint, run_follow_up
from bot.chat.replies import ChatContext, ChatReply
from bot.commands import COMMANDS
from bot.error_texts import explain
from bot.errors import UserError
from bot.jobs import ImageRef, Job, Media, Origin
from bot.ports import Delivery, Person, Progress
from bot.usecases import Request, UseCases

NAME = "lines"


@dataclass
class LineChat:
    """An `Adapter` and a `Platform`. `messages` are the bot's, by reference."""

    usecases: UseCases
    admins: frozenset[str] = frozenset()
    messages: dict[str, str] = field(default_factory=dict)
    name: str = NAME
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    # ------------------------------------------------------------ lines in

    async def receive(self, account: str, line: str, *, chat: str = "", reply_to: str = "") -> str:
        """The reply to a typed line; "" when a job was accepted, whose message follows. No `chat`: a private one."""
        person = await self.usecases.people.identify_account(NAME, account, account)
        origin = self._origin(account, chat or account)
        replied = await self.usecases.chat.job_of_message(NAME, reply_to) if reply_to else None
        name, _, text = line.removeprefix("/").partition(" ")
        try:
            if name in COMMANDS:
                await self._submit(person, origin, name, text, replied)
                return ""
            values = parse_arguments(find_chat_command(name).options, text)
            ctx = replace(self._context(person, origin, is_private=not chat), replied_job=replied)
            return await self._show(await run_chat_command(ctx, name, values))
        except UserError as error:
            return explain(error)

    async def press(self, account: str, data: str, *, message: str = "") -> str:
        """The reply to a press of a button under one of the bot's messages."""
        person = await self.usecases.people.identify_account(NAME, account, account)
        origin, key = self._origin(account, account), f"{NAME}:press:{next(self._numbers)}"
        button = parse_button(data)
        try:
            if is_confirmation(data):
                reply = await answer_confirmation(self._context(person, origin, is_private=True), data)
                return await self._show(reply) if reply is not None else ""
            if button is not None and button.action in COMMAND_ACTIONS:
                ctx = self._context(person, origin, is_private=True)
                return await self._show(await run_command_button(ctx, button))
            if button is not None and button.action in JOB_ACTIONS:
                await run_follow_up(self.usecases, person, origin, button, key)
                return ""
            if button is not None and button.action == "delete":
                for ref in await delete_job(self.usecases, person, NAME, button, message) or ():
                    self.messages.pop(ref, None)
                return texts.DELETED
        except UserError as error:
            return explain(error)
        return texts.BUTTON_EXPIRED

    async def _submit(self, person: Person, origin: Origin, name: str, text: str, replied: Job | None) -> None:
        images: tuple[ImageRef, ...] = ()
        if replied is not None and COMMANDS[name].images_allowed:
            images = (await self.usecases.chat.share_images(person, replied.id))[:1]
        request = Request(
            origin=origin,
            command=name,
            line=text,
            images=tuple(replace(image, role=COMMANDS[name].roles[0]) for image in images),
            parent=replied.id if replied is not None else None,
            wants_delivery=True,
            use_defaults=True,
        )
        await self.usecases.jobs.submit(person, request, key=f"{NAME}:line:{next(self._numbers)}")

    def _origin(self, account: str, chat: str) -> Origin:
        is_admin = account in self.admins
        return Origin(platform=NAME, space_id=chat, account_id=account, chat_id=chat, is_admin=is_admin)

    def _context(self, person: Person, origin: Origin, *, is_private: bool) -> ChatContext:
        return ChatContext(
            usecases=self.usecases,
            person=person,
            origin=origin,
            style=TYPED,
            is_private=is_private,
            max_file_bytes=2**20,
        )

    # ------------------------------------------------------------ replies out

    async def _show(self, reply: ChatReply) -> str:
        """A reply as lines: pictures as their alt texts, buttons as what they carry."""
        lines = [reply.text]
        lines += [f"[picture: {'spoiler, ' if image.is_spoiler else ''}{image.alt}]" for image in reply.images]
        lines += [f"[file: {file.name}, {file.media.media_type}]" for file in reply.files]
        lines += _buttons(reply.buttons)
        if reply.confirm is not None:
            lines += [f"[{reply.confirm.accept}]", f"[{reply.confirm.decline}]"]
        shown = "\n".join(line for line in lines if line)
        if reply.job is not None:
            await self.usecases.chat.remember_message(reply.job, NAME, self._post(shown))
        return shown

    def _post(self, text: str) -> str:
        ref = f"m{next(self._numbers)}"
        self.messages[ref] = text
        return ref

    # ------------------------------------------------------------ jobs out

    async def retract_message(self, delivery: Delivery, message_ref: str) -> None:
        self.messages.pop(message_ref, None)

    async def post_placeholder(self, delivery: Delivery) -> str:
        ticket = await self.usecases.jobs.ticket_for(delivery.job)
        return self._post(texts.format_placeholder(ticket))

    async def show_progress(self, job: Job, message_ref: str, progress: Progress) -> bool:
        ticket = await self.usecases.jobs.ticket_with_progress(job, progress)
        self.messages[message_ref] = texts.format_status(ticket, progress)
        return True

    async def edit_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        assert delivery.message_ref is not None
        job = delivery.job
        text = texts.format_result(job, with_demo_hint=await needs_demo_hint(self.usecases, job))
        made = job.result.media if job.result is not None else ()
        lines = [text, *(f"[picture: {one.alt}]" for one in made)]
        self.messages[delivery.message_ref] = "\n".join([*lines, *_buttons(offered_buttons(job, self.usecases.models))])
        return delivery.message_ref

    async def send_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self.edit_result(replace(delivery, message_ref=self._post("")), pictures)

    async def notify_undeliverable(self, delivery: Delivery) -> None:
        assert delivery.message_ref is not None
        self.messages[delivery.message_ref] = texts.format_undeliverable(delivery.job)

    async def serve(self) -> None:
        """Lines come by `receive`."""


def _buttons(buttons: Sequence[Button]) -> list[str]:
    return [f"[{button.encode()}]" for button in buttons]
