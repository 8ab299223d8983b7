"""Makes `rules.json`, what the Bot API asks of the requests that we send, from a full description of the Bot API.

`python -m tests.telegram.make_rules PATH` reads such a description (https://github.com/PaulSonOfLars/telegram-bot-api-spec,
`api.min.json`, MIT) and keeps the names, types and "required" of the methods in use and of every type they reach.
"""

import json
import sys
from pathlib import Path
from typing import Any

RULES = Path(__file__).with_name("rules.json")
METHODS = (
    "answerCallbackQuery",
    "deleteMessage",
    "deleteWebhook",
    "editMessageCaption",
    "editMessageMedia",
    "editMessageReplyMarkup",
    "editMessageText",
    "getChat",
    "getChatMember",
    "getFile",
    "getMe",
    "getUpdates",
    "sendChatAction",
    "sendDocument",
    "sendMediaGroup",
    "sendMessage",
    "sendPhoto",
    "setMyCommands",
    "setWebhook",
)


def make_rules(description: dict[str, Any]) -> dict[str, Any]:
    """`{"methods": {name: fields}, "types": {name: fields, or a list of subtypes}}`; a field is [types, required]."""
    methods = {name: _fields(description["methods"][name]) for name in METHODS}
    types: dict[str, Any] = {}
    waiting = [kind for fields in methods.values() for kinds, _ in fields.values() for kind in kinds]
    while waiting:
        name = waiting.pop().replace("Array of ", "")
        if name in types or name not in description["types"]:
            continue
        found = description["types"][name]
        types[name] = sorted(found["subtypes"]) if found.get("subtypes") else _fields(found)
        waiting += types[name] if isinstance(types[name], list) else [k for ks, _ in types[name].values() for k in ks]
    return {"version": description["version"], "methods": methods, "types": dict(sorted(types.items()))}


def _fields(described: dict[str, Any]) -> dict[str, Any]:
    return {field["name"]: [field["types"], field["required"]] for field in described.get("fields", [])}


def main() -> None:
    description = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    text = json.dumps(make_rules(description), separators=(",", ":"))
    RULES.write_text(text.replace('},"', '},\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
