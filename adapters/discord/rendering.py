"""A job as the text, files and buttons of one classic message, within Discord's limits."""

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import discord

from adapters.discord import texts
from adapters.discord.views import build_view
from bot.chat import texts as chat_texts
from bot.chat.buttons import buttons_of
from bot.jobs import Job, Media
from bot.ports import Progress
from bot.usecases import Ticket, UseCases

MAX_CONTENT = 2000
MAX_ALT = 1024
MIB = 2**20
FILE_LIMIT = 10 * MIB
REQUEST_LIMIT = 25 * MIB
ENVELOPE_BYTES = 128 * 1024
"""Of a request, kept for everything that is not a file."""
SPOILER_PREFIX = "SPOILER_"
FILE_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}


def to_plain_text(text: str, limit: int = MAX_CONTENT) -> str:
    """People's words without effect: no markup, and not too long. The first line gives way, for it is a prompt."""
    text = _escape(text)
    if len(text) <= limit:
        return text
    first, newline, rest = text.partition("\n")
    if len(rest) > limit // 2:
        return _truncate(text, limit)
    return _truncate(first, limit - len(rest) - len(newline)) + newline + rest


def _escape(text: str) -> str:
    return discord.utils.escape_markdown(text, ignore_links=False)


def _truncate(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return text[: limit - 1].rstrip("\\").rstrip() + "\u2026"


def render_placeholder(usecases: UseCases, ticket: Ticket, *, extra_line: str = "") -> dict[str, Any]:
    """The placeholder."""
    job = ticket.job
    text = to_plain_text(chat_texts.say_placeholder(ticket, job.origin.locale), MAX_CONTENT - 300)
    lines = [text, _requester_line(job), extra_line]
    buttons = () if job.state.is_final else buttons_of(job, usecases.models)  # the result brings its own
    return {"content": "\n".join(filter(None, lines)), "view": build_view(buttons, job.origin.locale)}


def render_progress(usecases: UseCases, ticket: Ticket, progress: Progress) -> dict[str, Any]:
    """The placeholder while its job runs; it carries no button but cancel."""
    job = ticket.job
    locale = job.origin.locale
    text = chat_texts.say_standing(ticket, progress, locale)
    files = []
    if progress.preview:
        name = f"{SPOILER_PREFIX if is_spoiler(job) else ''}preview.jpg"
        files.append(discord.File(io.BytesIO(progress.preview), filename=name, description=text[:MAX_ALT]))
    lines = [text, _requester_line(job)]
    view = build_view(buttons_of(job, usecases.models), job.origin.locale)
    return {"content": "\n".join(filter(None, lines)), "attachments": files, "view": view}


async def render_result(usecases: UseCases, job: Job, pictures: Sequence[Media], *, limit: int) -> dict[str, Any]:
    """The final message. `limit`: bytes that one file may have. Raises: TooLarge."""
    each = max_file_bytes(limit, len(pictures))
    files, was_changed = [], False
    for index, picture in enumerate(pictures):
        fitting, changed = await usecases.media.fit(picture, each)
        was_changed = was_changed or changed
        files.append(build_file(job, index, fitting, alt=alt_text(job, picture), spoiler=is_spoiler(job)))
    locale = job.origin.locale
    notes = [_requester_line(job), chat_texts.say_text(chat_texts.SMALLER, locale) if was_changed else ""]
    tail = "\n".join(filter(None, notes))
    text = to_plain_text(chat_texts.say_result(job, locale), MAX_CONTENT - len(tail) - 1)
    view = build_view(buttons_of(job, usecases.models), job.origin.locale)
    return {"content": "\n".join(filter(None, [text, tail])), "files": files, "view": view}


def render_undeliverable(job: Job) -> dict[str, Any]:
    """What is left to say of a result that Discord does not take: words of ours alone."""
    return {
        "content": to_plain_text(chat_texts.say_kept(job, job.origin.locale)),
        "files": [],
        "view": discord.ui.View(),
    }


def max_file_bytes(limit: int, count: int) -> int:
    """Bytes that each of so many files may have, so that all of them fit one request."""
    return min(limit or FILE_LIMIT, (REQUEST_LIMIT - ENVELOPE_BYTES) // max(1, count))


def is_spoiler(job: Job) -> bool:
    return job.is_spoiler


def build_file(job: Job, index: int, picture: Media, *, alt: str = "", spoiler: bool = False) -> discord.File:
    name = f"easel-{job.id[:6]}-{index + 1}.{FILE_EXTENSIONS.get(picture.media_type, 'png')}"
    said = alt[:MAX_ALT] or None
    return discord.File(io.BytesIO(picture.data), filename=name, description=said, spoiler=spoiler)


def alt_text(job: Job, picture: Media) -> str:
    """What the picture shows, for people who do not see it."""
    digest = hashlib.sha256(picture.data).hexdigest()
    made = next((one for one in (job.result.media if job.result else ()) if one.id == digest), None)
    return (made.alt if made else "") or str(job.options.get("prompt") or "")


def _requester_line(job: Job) -> str:
    """Whose it is, where others read along; it pings nobody. A reply shows it by itself."""
    if not job.origin.extra.get("named") or job.origin.space_id.startswith("dm:"):
        return ""
    return chat_texts.say_text(texts.REQUESTED_BY, job.origin.locale, person=f"<@{job.origin.account_id}>")
