"""The tools and their JSON Schemas, from the bodies of `GET /commands`: the same options, ranges and choices."""

from collections.abc import Mapping, Sequence
from typing import Any

from adapters.mcp.tool_backend import Body

LOOK_UPS = ("job", "cancel", "history", "list_models", "quota")
"""The tools that are no commands."""
MAX_LISTED = 50
IMAGES, PARENT, QUOTE = "images", "parent", "quote"
"""Arguments of a command's tool that are not the command's options."""
IMAGE_FORMS = (
    "the id of an uploaded image; a picture of an earlier job, as easel://job/ID/NUMBER; a data: URL; or base64"
)
_OF_A_PATH = "; the absolute path of an image file on this computer"
_ROLES = {
    "init": "init: the image to work on",
    "mask": "mask: white is repainted, black is kept",
    "control": "control: guides the composition, by `kind`",
    "reference": "reference: an image to refer to, or whose style or subject is taken",
}
_JOB_ID = {"type": "string", "description": "The id of the job, or of the grid or batch"}


def is_available(command: Body) -> bool:
    """Whether an installed model can do it."""
    return bool(command["models"])


def command_tool(command: Body, *, reads_files: bool = False) -> Body:
    """A command as a tool. `reads_files`: an image may be the path of a file."""
    properties: dict[str, Any] = {option["name"]: _option_schema(option, command) for option in command["options"]}
    required = [option["name"] for option in command["options"] if option["required"]]
    images = command["images"]
    if images["roles"]:
        properties[IMAGES] = _images_schema(images, reads_files=reads_files)
        required += [IMAGES] * bool(images["needed"])
    if "prompt" in properties:
        text = "Confirms a prompt with several {a|b} combinations: it is in the answer to the call without it"
        properties[QUOTE] = {"type": "string", "description": text}
    properties[PARENT] = {"type": "string", "description": _PARENT_TEXT.get(command["name"], _PARENT_TEXT[""])}
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return _tool(command["name"], _describe_command(command), schema, is_read_only=False)


_PARENT_TEXT = {
    "": "The id of the job that this one follows from",
    "ask": "The id of an earlier ask: the question continues its conversation, where the model can",
}


def look_up_tools() -> list[Body]:
    """The tools about jobs, models and the quota."""
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": 10, "description": "How many to list"}
    wait = {"type": "boolean", "default": True, "description": "Wait for the result, up to the server's limit"}
    return [
        _tool("job", "Show a job: its state, or its result with its images", _object(id=_JOB_ID, wait=wait)),
        _tool("cancel", "Cancel a job that is waiting or running", _object(id=_JOB_ID), is_read_only=False),
        _tool(
            "history",
            "List your jobs, newest first",
            _object(
                required=(),
                query={"type": "string", "maxLength": 200, "description": "Words of prompts, captions and answers"},
                limit=limit,
                before={"type": "string", "description": "`next` of the previous page"},
            ),
        ),
        _tool("list_models", "List the installed models, with what each can do and its options", _object()),
        _tool("quota", "Show how much of today's quota is used", _object()),
    ]


def _object(*, required: Sequence[str] | None = None, **properties: Any) -> Body:
    needed = [name for name in properties if "default" not in properties[name]] if required is None else list(required)
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _tool(name: str, description: str, schema: Body, *, is_read_only: bool = True) -> Body:
    return {
        "name": name,
        "description": description,
        "inputSchema": schema,
        "annotations": {"readOnlyHint": is_read_only, "destructiveHint": name == "cancel", "openWorldHint": False},
    }


def _describe_command(command: Body) -> str:
    answer = {"images": "Answers with images.", "lines": "Answers with lines, each a prompt."}
    return f"{command['summary']}. {answer.get(command['answers'], 'Answers in words.')}"


def _option_schema(option: Body, command: Body) -> Body:
    if option["type"] == "axis":
        return _axis_schema(option)
    schema: dict[str, Any] = {"type": option["type"], "description": option["help"]}
    for name, keyword in (("minimum", "minimum"), ("maximum", "maximum"), ("max_length", "maxLength")):
        if option[name] is not None:
            schema[keyword] = int(option[name]) if option["type"] == "integer" else option[name]
    choices = command["models"] if option["name"] == "model" else option["choices"]
    if choices:
        schema["enum"] = list(choices)
    if option["default"] is not None:
        schema["default"] = option["default"]
    return schema


def _axis_schema(option: Body) -> Body:
    """Of a grid."""
    names = f"One of: {', '.join(option['axis_options'])}"
    properties = {
        "option": {"type": "string", "description": names},
        "values": {"type": "array", "minItems": 1, "description": "The option's values; for prompt, replacements"},
    }
    fields = {"properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "object", "description": option["help"], **fields}


def _images_schema(images: Body, *, reads_files: bool) -> Body:
    roles: list[str] = images["roles"]
    source = {"type": "string", "description": f"One of: {IMAGE_FORMS}{_OF_A_PATH * reads_files}"}
    described = {
        "image": source,
        "role": {
            "type": "string",
            "enum": roles,
            "default": roles[0],
            "description": _roles_text(roles),
        },
        **(_KIND_PROPERTIES if {"control", "reference"} & set(roles) else {}),
    }
    if kinds := [kind for of_role in images["kinds"].values() for kind in of_role]:
        described["kind"] = {"type": "string", "enum": kinds, "description": _kinds_text(images["kinds"])}
    item = {"type": "object", "properties": described, "required": ["image"], "additionalProperties": False}
    schema = {"type": "array", "items": {"anyOf": [source, item]}, "maxItems": _most_images(images)}
    return schema | ({"minItems": images["needed"]} if images["needed"] else {})


def _most_images(images: Body) -> int:
    """Roles that count together have the same limit."""
    limits: Mapping[str, int] = images["limits"]
    shared = images["allowed"]
    further = sum(limit for role, limit in limits.items() if role in ("mask", "control") or limit != shared)
    return int(shared) + further


def _roles_text(roles: Sequence[str]) -> str:
    return "; ".join(_ROLES.get(role, role) for role in roles)


def _kinds_text(kinds: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"of a {role}: {', '.join(names)}" for role, names in kinds.items())


_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_KIND_PROPERTIES = {
    "weight": {"type": "number", "minimum": 0, "maximum": 2, "default": 1, "description": "How much it counts"},
    "start": {**_SHARE, "default": 0, "description": "Of a control: where it starts, as a share of the steps"},
    "end": {**_SHARE, "default": 1, "description": "Of a control: where it ends, as a share of the steps"},
    "ready": {"type": "boolean", "default": False, "description": "Of a control: it is such a map already"},
}
