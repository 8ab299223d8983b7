"""Makes `rules.json` from Discord's official description.

    python -m tests.discord.loopback.make_rules PATH/openapi.json

Only what our adapter calls is kept, and of that only the request: what may be sent, not what it means.
"""

import json
import sys
from pathlib import Path
from typing import Any

RULES = Path(__file__).with_name("rules.json")
USED = {
    "/users/@me": ("get",),
    "/users/@me/channels": ("post",),
    "/gateway/bot": ("get",),
    "/oauth2/applications/@me": ("get",),
    "/applications/{application_id}/commands": ("get", "put"),
    "/interactions/{interaction_id}/{interaction_token}/callback": ("post",),
    "/webhooks/{webhook_id}/{webhook_token}": ("post",),
    "/webhooks/{webhook_id}/{webhook_token}/messages/@original": ("patch", "delete"),
    "/webhooks/{webhook_id}/{webhook_token}/messages/{message_id}": ("patch", "delete"),
    "/channels/{channel_id}": ("get",),
    "/channels/{channel_id}/messages": ("post",),
    "/channels/{channel_id}/messages/{message_id}": ("get", "patch", "delete"),
}
SAID = ("description", "title", "example", "examples", "deprecated", "x-discord-union", "format", "contentEncoding")
NEVER_SENT = (
    *("embeds", "poll", "sticker_ids", "username", "avatar_url", "thread_name", "applied_tags"),
    *("shared_client_theme", "confetti_potion", "emoji"),
)
"""Left out of the description, so that sending them breaks a rule."""
UNTOLD = {
    "ApplicationCommandUpdateRequest": {"nsfw": {"type": "boolean"}},
    "MessageEditRequestPartial": {"tts": {"const": False}},
    "IncomingWebhookUpdateRequestPartial": {"tts": {"const": False}},
}
"""What discord.py sends beyond the description; Discord documents it elsewhere, or ignores it."""
NO_COMPONENTS_V2 = (
    *("ContainerComponent", "FileComponent", "MediaGallery", "Section", "Separator", "TextDisplay", "Thumbnail"),
    *(
        "ChannelSelect",
        "MentionableSelect",
        "RoleSelect",
        "UserSelect",
        "FileUpload",
        "Checkbox",
        "Radio",
    ),
)


def pruned(schema: Any, *, closed: bool = True) -> Any:
    """Without words; `closed`: what is not named may not be sent."""
    if isinstance(schema, list):
        return [pruned(one) for one in schema if not _is_v2(one)]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in SAID}
    for key, value in kept.items():
        if key == "properties":
            kept[key] = {name: pruned(one) for name, one in value.items() if name not in NEVER_SENT}
        elif key == "allOf":
            kept[key] = [pruned(one, closed=False) for one in value]
        elif key not in ("enum", "required", "const"):
            kept[key] = pruned(value)
    if closed and "properties" in kept and "additionalProperties" not in kept:
        kept["additionalProperties"] = False
    return kept


def _is_v2(schema: Any) -> bool:
    name = schema.get("$ref", "").rpartition("/")[2] if isinstance(schema, dict) else ""
    return name.startswith(NO_COMPONENTS_V2)


def needed(schema: Any, schemas: dict[str, Any], found: dict[str, Any]) -> None:
    """Collect every schema that this one names, and theirs."""
    if isinstance(schema, list):
        for one in schema:
            needed(one, schemas, found)
    if not isinstance(schema, dict):
        return
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name and name not in found:
        found[name] = pruned(schemas[name])
        found[name].get("properties", {}).update(UNTOLD.get(name, {}))
        needed(found[name], schemas, found)
    for value in schema.values():
        needed(value, schemas, found)


def operation(item: dict[str, Any], method: str) -> dict[str, Any]:
    described = item[method]
    parameters = [*item.get("parameters", []), *described.get("parameters", [])]
    content = described.get("requestBody", {}).get("content", {})
    return {
        "query": sorted(one["name"] for one in parameters if one["in"] == "query"),
        "required": described.get("requestBody", {}).get("required", False),
        "multipart": "multipart/form-data" in content,
        "body": pruned(content["application/json"]["schema"]) if content else None,
    }


def make(description: dict[str, Any]) -> dict[str, Any]:
    operations = {
        f"{method.upper()} {path}": operation(description["paths"][path], method)
        for path, methods in USED.items()
        for method in methods
    }
    schemas: dict[str, Any] = {}
    needed(operations, description["components"]["schemas"], schemas)
    return {"operations": operations, "components": {"schemas": dict(sorted(schemas.items()))}}


if __name__ == "__main__":
    made = make(json.loads(Path(sys.argv[1]).read_text()))
    RULES.write_text(json.dumps(made, separators=(",", ":"), ensure_ascii=False) + "\n")
