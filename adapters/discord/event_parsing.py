"""Converts the library's objects to events: what happened, where, and what the bot may do there."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import discord

from adapters.discord.events import NOT_INSTALLED, AttachedFile, DiscordEvent
from adapters.discord.limits import FILE_LIMIT
from bot.chat.file_types import is_other_media
from bot.chat.follow_ups import join_region
from bot.chat.question_detector import is_question

CHANNEL_PERMISSIONS = {
    "view_channel": "View Channel",
    "send_messages": "Send Messages",
    "attach_files": "Attach Files",
}
THREAD_PERMISSIONS = {**CHANNEL_PERMISSIONS, "send_messages_in_threads": "Send Messages in Threads"}
del THREAD_PERMISSIONS["send_messages"]
LINK = re.compile(r"<?(?:\|\|)?https?://\S+")
"""A text that is nothing but a link: it asks for nothing about its preview."""
MASK_OPTION, CONTROL_OPTION = "mask", "control"
"""The options of a slash command whose files have a role: that of the same name."""
UNKNOWN_AUTHOR = "unknown"
"""The author of an image whose origin is not known."""


def event_from_interaction(interaction: discord.Interaction[Any], kind: str, **more: Any) -> DiscordEvent:
    channel = interaction.channel
    is_thread = isinstance(channel, discord.Thread)
    guild = interaction.guild_id
    missing = missing_permissions(interaction, is_thread=is_thread)
    return DiscordEvent(
        key=f"interaction:{interaction.id}",
        kind=kind,
        account_id=str(interaction.user.id),
        account_name=interaction.user.display_name,
        locale=str(interaction.locale),
        guild_id=str(guild) if guild else "",
        channel_id=str(interaction.channel_id or ""),
        is_thread=is_thread,
        nsfw=_is_nsfw(channel),
        missing=missing,
        size_limit=_size_limit(interaction, may_post=not missing),
        application_id=str(interaction.application_id),
        token=interaction.token,
        at=interaction.created_at.timestamp(),
        **more,
    )


def missing_permissions(interaction: discord.Interaction[Any], *, is_thread: bool) -> tuple[str, ...]:
    """The permissions that the bot lacks to post its answer here; empty: it may post."""
    if interaction.context.private_channel:
        return (NOT_INSTALLED,)
    if interaction.guild_id is None:
        return ()
    if interaction.is_user_integration() and not interaction.is_guild_integration():
        return (NOT_INSTALLED,)
    needed = THREAD_PERMISSIONS if is_thread else CHANNEL_PERMISSIONS
    return tuple(title for name, title in needed.items() if not getattr(interaction.app_permissions, name))


def _size_limit(interaction: discord.Interaction[Any], *, may_post: bool) -> int:
    """The file limit of the bot's own messages; the interaction's also counts the person's subscription."""
    if not may_post:
        return interaction.filesize_limit
    guild = interaction.guild
    return guild.filesize_limit if guild is not None and not guild.unavailable else FILE_LIMIT


def _is_nsfw(channel: Any) -> bool:
    is_nsfw = getattr(channel, "is_nsfw", None)
    return bool(is_nsfw()) if callable(is_nsfw) else False


def event_from_message(message: discord.Message, bot: discord.abc.User) -> DiscordEvent:
    """From a private message, or one that mentions the bot. A sticker alone is a remark, not a request."""
    guild, channel = message.guild, message.channel
    reference = message.reference
    target = f"{channel.id}:{reference.message_id}" if reference is not None and reference.message_id else ""
    text = text_for_bot(message, bot.id)
    has_own = text or message.attachments or message.message_snapshots
    own = attached_images(message, any_file=is_question(text)) if has_own else ()
    replied = reference.resolved if reference is not None else None
    theirs = attached_images(replied) if isinstance(replied, discord.Message) else ()
    return DiscordEvent(
        key=f"message:{message.id}",
        kind="message",
        name="reply" if target else "",
        account_id=str(message.author.id),
        account_name=message.author.display_name,
        locale=str(guild.preferred_locale) if guild is not None else "en",
        guild_id=str(guild.id if guild is not None else getattr(channel, "guild_id", None) or ""),
        channel_id=str(channel.id),
        is_thread=isinstance(channel, discord.Thread),
        nsfw=_is_nsfw(channel),
        missing=(),
        size_limit=guild.filesize_limit if guild is not None else FILE_LIMIT,
        pictures=own or theirs,
        options={
            "own": len(own),
            "is_hidden": not (message.content or message.attachments),
            "is_unreadable": bool(message.attachments) and not own,
        },
        spoiler=any(one.spoiler for one in own or theirs),
        target=target,
        text="" if own and LINK.fullmatch(text) else text,
        message_id=str(message.id),
        at=message.created_at.timestamp(),
    )


def text_for_bot(message: discord.Message, bot_id: int) -> str:
    """Without the mention of the bot or of its own role, and with other people's names instead of their ids."""
    role = message.guild.self_role if message.guild is not None else None
    names = [f"<@!?{bot_id}>", *([re.escape(role.mention)] if role is not None else [])]
    text = re.sub(rf"(?:{'|'.join(names)})[,:;]?", " ", message.content).strip()
    for person in message.mentions:
        text = re.sub(f"<@!?{person.id}>", lambda _, name=person.display_name: f"@{name}", text)  # type: ignore[misc]
    return text


def attached_images(message: discord.Message, *, any_file: bool = False) -> tuple[AttachedFile, ...]:
    """The images of a message and of those that it forwards, whose authors Discord does not name.

    `any_file`: they are asked about, so their bytes decide what they are, whatever their types say.
    """
    images = _images_of(message, str(message.author.id), any_file=any_file)
    for snapshot in message.message_snapshots:
        images += _images_of(snapshot, UNKNOWN_AUTHOR, any_file=any_file)
    return tuple(images)


def _images_of(
    message: discord.Message | discord.MessageSnapshot, author: str, *, any_file: bool
) -> list[AttachedFile]:
    """What is attached; else a sticker that is an image; else what Discord itself shows of the links."""
    files = list(attached_files(message.attachments, author))
    attached = [one for one in files if one.may_be_image]
    if any_file and not attached:
        attached = [one for one in files if not is_other_media(one.content_type)]
    stickers = [
        AttachedFile(url=one.url, author=author)
        for one in message.stickers
        if one.format is not discord.StickerFormatType.lottie
    ]
    return attached or stickers or list(_link_previews(message, author))


def _link_previews(message: discord.Message | discord.MessageSnapshot, author: str) -> Iterable[AttachedFile]:
    """The copies on Discord's own media servers: what is at the link itself is never fetched."""
    for embed in message.embeds:
        url: object = embed.image.proxy_url or embed.thumbnail.proxy_url
        if url and isinstance(url, str):
            yield AttachedFile(url=url, spoiler="||" in message.content, author=author)


def attached_files(attachments: Iterable[Any], author: str) -> Iterable[AttachedFile]:
    """The library checks no types: one without a link or a name is left out."""
    for one in attachments:
        if not isinstance(one.url, str) or not isinstance(one.filename, str):
            continue
        yield AttachedFile(
            url=one.url,
            filename=one.filename,
            size=one.size if isinstance(one.size, int) else 0,
            content_type=one.content_type if isinstance(one.content_type, str) else "",
            spoiler=one.is_spoiler(),
            author=author,
        )


def option_files(values: Mapping[str, Any], author: str) -> tuple[AttachedFile, ...]:
    """The files among the options of a slash command, in their order, a mask and a control with their roles."""
    files = []
    for name, one in values.items():
        if isinstance(one, discord.Attachment):
            [file] = attached_files([one], author)
            files.append(replace(file, role=name) if name in (MASK_OPTION, CONTROL_OPTION) else file)
    return tuple(files)


def modal_text(interaction: discord.Interaction[Any]) -> str:
    """The text of the modal's only field, or those about a part in one, at any nesting depth."""
    data: Any = interaction.data or {}
    first, *more = [*_find_values(data.get("components") or []), ""]
    return join_region(first, more[0]) if len(more) > 1 else first


def _find_values(components: list[dict[str, Any]]) -> Iterator[str]:
    for one in components:
        if "value" in one:
            yield str(one["value"] or "")
        yield from _find_values(one.get("components") or ([one["component"]] if "component" in one else []))
