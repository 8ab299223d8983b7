"""Commands as Discord returns them: not exactly as they were registered."""

from typing import Any

LEFT_OUT = {"required": False, "autocomplete": False, "choices": [], "options": []}
WORDS = ("name_localizations", "description_localizations")


def kept(told: dict[str, Any], command_id: int, application: str) -> dict[str, Any]:
    added = {"id": str(command_id), "application_id": application, "version": "1", "default_permission": True}
    permissions = told.get("default_member_permissions")
    made = {"description": "", **_plain(told), **added}
    return made | {"default_member_permissions": None if permissions is None else str(permissions)}


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in told.items() if key not in LEFT_OUT or value != LEFT_OUT[key]}
    made |= {key: told.get(key) or None for key in WORDS if key in told}
    for key in ("options", "choices"):
        if key in made:
            made[key] = [_plain(one) for one in made[key]]
    return made


def in_one_language(command: dict[str, Any]) -> dict[str, Any]:
    """Without `with_localizations`, translations are left out."""
    made = {key: value for key, value in command.items() if key not in WORDS}
    for key in ("options", "choices"):
        if key in made:
            made[key] = [in_one_language(one) for one in made[key]]
    return made
