"""Tells Discord which commands there are, only when they changed: it allows few such tellings a day."""

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from discord import app_commands

from adapters.discord import library_patches
from adapters.discord.error_mapping import translated

log = structlog.get_logger()

SAID = ("name", "description")
WORDS = ("name_localizations", "description_localizations")
FLAGS = ("nsfw", "required", "autocomplete")
BOUNDS = ("min_value", "max_value", "min_length", "max_length", "value")
PLACES = ("contexts", "integration_types")

Told = Mapping[str, Any]


async def sync(tree: app_commands.CommandTree[Any]) -> bool:
    """Whether they had to be told. Raises: PlatformError."""
    with translated():
        ours = await library_patches.commands_to_tell(tree)
        if _by_name(ours) == _by_name(await library_patches.commands_told(tree.client)):
            return False
        await tree.sync()
    log.info("told Discord the commands", action="discord_commands_synced", count=len(ours))
    return True


def _by_name(commands: Iterable[Told]) -> dict[tuple[int, str], Any] | None:
    """None: a server that is not quite Discord tells them in a way that cannot be read."""
    try:
        return {(int(one.get("type") or 1), one["name"]): _plain(one) for one in commands}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        log.info("the list of commands could not be read", action="discord_commands_unread", error=repr(error))
        return None


def _plain(told: Told) -> dict[str, Any]:
    """A command, an option or a choice, without what Discord adds and leaves out by itself."""
    permissions = told.get("default_member_permissions")
    return {
        "type": told.get("type"),
        "permissions": None if permissions is None else str(permissions),
        **{key: told.get(key) or "" for key in SAID},
        **{key: dict(told.get(key) or {}) for key in WORDS},
        **{key: bool(told.get(key)) for key in FLAGS},
        **{key: told.get(key) for key in BOUNDS},
        **{key: sorted(told.get(key) or []) for key in PLACES},
        **{key: [_plain(one) for one in told.get(key) or []] for key in ("options", "choices")},
    }
