"""Registers the commands with Discord, only when they changed: it limits registrations per day."""

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from discord import app_commands

from adapters.discord import library_patches
from adapters.discord.error_mapping import translate_errors

log = structlog.get_logger()

TEXT_FIELDS = ("name", "description")
LOCALIZATION_FIELDS = ("name_localizations", "description_localizations")
FLAG_FIELDS = ("nsfw", "required", "autocomplete")
VALUE_FIELDS = ("min_value", "max_value", "min_length", "max_length", "value")
LIST_FIELDS = ("contexts", "integration_types")

CommandPayload = Mapping[str, Any]


async def sync_commands(tree: app_commands.CommandTree[Any]) -> bool:
    """Returns whether the commands had to be registered. Raises: PlatformError."""
    with translate_errors():
        ours = await library_patches.command_payloads(tree)
        if _by_name(ours) == _by_name(await library_patches.fetch_commands(tree.client)):
            return False
        await tree.sync()
    log.info("registered the commands with Discord", action="discord_commands_synced", count=len(ours))
    return True


def _by_name(commands: Iterable[CommandPayload]) -> dict[tuple[int, str], Any] | None:
    """None: the response cannot be parsed, as a merely Discord-compatible server may send it."""
    try:
        return {(int(one.get("type") or 1), one["name"]): _normalize(one) for one in commands}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        log.info("the list of commands could not be read", action="discord_commands_unread", error=repr(error))
        return None


def _normalize(payload: CommandPayload) -> dict[str, Any]:
    """A command, option or choice without the fields that Discord adds or omits by itself."""
    permissions = payload.get("default_member_permissions")
    return {
        "type": payload.get("type"),
        "permissions": None if permissions is None else str(permissions),
        **{key: payload.get(key) or "" for key in TEXT_FIELDS},
        **{key: dict(payload.get(key) or {}) for key in LOCALIZATION_FIELDS},
        **{key: bool(payload.get(key)) for key in FLAG_FIELDS},
        **{key: payload.get(key) for key in VALUE_FIELDS},
        **{key: sorted(payload.get(key) or []) for key in LIST_FIELDS},
        **{key: [_normalize(one) for one in payload.get(key) or []] for key in ("options", "choices")},
    }
