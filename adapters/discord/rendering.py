"""Renders a job as the text, files and buttons of one classic message, within Discord's limits."""

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import discord

from adapters.discord import texts
from adapters.discord.limits import MAX_ALT, MAX_CONTENT, MAX_FILES, max_file_bytes
from adapters.discord.views import build_view
from bot.chat import texts as chat_texts
from bot.chat.arguments import SLASH
from bot.chat.buttons import offered_buttons
from bot.chat.command_lines import split_command_lines
from bot.chat.follow_ups import needs_demo_hint
from bot.chat.picture_texts import alt_of
from bot.chat.replies import ChatFile
from bot.jobs import Job, Media, StoredImage
from bot.ports import Progress
from bot.usecases import Ticket, UseCases

SPOILER_PREFIX = "SPOILER_"
FILE_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}


def to_plain_text(text: str, limit: int = MAX_CONTENT) -> str:
    """Escaped markup, at most `limit` characters. The first line, a prompt, is cut first."""
    text = _escape(text)
    if len(text) <= limit:
        return text
    first, newline, rest = text.partition("\n")
    if len(rest) > limit // 2:
        return _truncate(text, limit)
    return _truncate(first, limit - len(rest) - len(newline)) + newline + rest


def _escape(text: str) -> str:
    """All markup but that of command lines, which are code."""
    return "".join(
        f"`{part}`" if number % 2 else discord.utils.escape_markdown(part, ignore_links=False)
        for number, part in enumerate(split_command_lines(text))
    )


def _truncate(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    cut = text[: limit - 1].rstrip("\\")
    if cut.replace("\\`", "").count("`") % 2:  # within a command line
        cut = cut.rpartition("`")[0]
    return cut.rstrip() + "\u2026"


def render_placeholder(usecases: UseCases, ticket: Ticket, *, extra_line: str = "") -> dict[str, Any]:
    """The placeholder; a finished job gets its buttons with the result."""
    job = ticket.job
    text = to_plain_text(chat_texts.format_placeholder(ticket, job.origin.locale), MAX_CONTENT - 300)
    lines = [text, _requester_line(job), extra_line]
    buttons = () if job.state.is_final else offered_buttons(job, usecases.models)
    return {"content": "\n".join(filter(None, lines)), "view": build_view(buttons, job.origin.locale)}


def render_progress(usecases: UseCases, ticket: Ticket, progress: Progress) -> dict[str, Any]:
    """The placeholder of a running job; its only button is Cancel."""
    job = ticket.job
    locale = job.origin.locale
    text = to_plain_text(chat_texts.format_status(ticket, progress, locale), MAX_CONTENT - 300)
    files = []
    if progress.preview:
        name = f"{SPOILER_PREFIX if job.is_spoiler else ''}preview.jpg"
        files.append(discord.File(io.BytesIO(progress.preview), filename=name, description=text[:MAX_ALT]))
    lines = [text, _requester_line(job)]
    view = build_view(offered_buttons(job, usecases.models), job.origin.locale)
    return {"content": "\n".join(filter(None, lines)), "attachments": files, "view": view}


async def render_result(usecases: UseCases, job: Job, pictures: Sequence[Media], *, limit: int) -> dict[str, Any]:
    """The final message, with as many pictures as it takes. `limit`: the largest file in bytes. Raises: TooLarge."""
    pictures = pictures[:MAX_FILES]
    file_limit = max_file_bytes(limit, len(pictures))
    files, was_changed = [], False
    for picture, made in zip(pictures, match_pictures(job, pictures), strict=True):
        fitting, changed = await usecases.media.fit_bytes(picture, file_limit)
        was_changed = was_changed or changed
        files.append(build_file(job, made.number - 1, fitting, alt=alt_of(job, made), spoiler=is_spoiler(job, made)))
    locale = job.origin.locale
    notes = [_requester_line(job), chat_texts.format_text(chat_texts.SMALLER, locale) if was_changed else ""]
    tail = "\n".join(filter(None, notes))
    result = chat_texts.format_result(job, locale, with_demo_hint=await needs_demo_hint(usecases, job))
    text = to_plain_text(result, MAX_CONTENT - len(tail) - 1)
    view = build_view(offered_buttons(job, usecases.models), job.origin.locale)
    return {"content": "\n".join(filter(None, [text, tail])), "files": files, "view": view}


def render_undeliverable(job: Job) -> dict[str, Any]:
    """Replaces a result that Discord rejects: a sentence without anything of the result."""
    return {
        "content": to_plain_text(chat_texts.format_undeliverable(job, job.origin.locale, style=SLASH)),
        "files": [],
        "view": discord.ui.View(),
    }


def build_file(job: Job, index: int, picture: Media, *, alt: str = "", spoiler: bool = False) -> discord.File:
    name = f"easel-{job.id[:6]}-{index + 1}.{FILE_EXTENSIONS.get(picture.media_type, 'png')}"
    return discord.File(io.BytesIO(picture.data), filename=name, description=alt[:MAX_ALT] or None, spoiler=spoiler)


def attach_file(file: ChatFile) -> discord.File:
    extension = file.media.media_type.rpartition("/")[2]
    return discord.File(io.BytesIO(file.media.data), filename=f"{file.name}.{extension}")


def match_pictures(job: Job, pictures: Sequence[Media]) -> list[StoredImage]:
    """Which of the job's pictures each is: some may be gone, and several may be alike."""
    left = list(job.result.media) if job.result else []
    matched = []
    for digest in (hashlib.sha256(picture.data).hexdigest() for picture in pictures):
        matched.append(next(one for one in left if one.id == digest))
        left.remove(matched[-1])
    return matched


def is_spoiler(job: Job, picture: StoredImage) -> bool:
    return bool(job.origin.extra.get("spoiler")) or picture.is_spoiler


def _requester_line(job: Job) -> str:
    """Names the person where others can read, without pinging; a reply to their message needs no name."""
    if not job.origin.extra.get("named") or job.origin.space_id.startswith("dm:"):
        return ""
    return chat_texts.format_text(texts.REQUESTED_BY, job.origin.locale, person=f"<@{job.origin.account_id}>")
