"""Checks a request against Discord's own description (`rules.json`) and the limits that it does not tell."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

RULES = json.loads(Path(__file__).with_name("rules.json").read_text())
SNOWFLAKE = RULES["components"]["schemas"]["SnowflakeType"]
# Discord takes whole numbers where its description says text of digits.
RULES["components"]["schemas"]["SnowflakeType"] = {"anyOf": [SNOWFLAKE, {"type": "integer"}]}
_ROUTES = sorted(RULES["operations"], key=lambda name: name.count("{"))
_PATTERNS = {name: re.compile(re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(name))) for name in _ROUTES}


def check(method: str, path: str, body: Any, query: Any, files: list[str], is_multipart: bool) -> list[str]:
    """What is wrong with a request; empty when nothing is."""
    name = next((one for one in _ROUTES if _PATTERNS[one].fullmatch(f"{method} {path}")), None)
    if name is None:
        return [f"unknown operation {method} {path}"]
    rule = RULES["operations"][name]
    found = [f"{name}: unknown query parameter {one}" for one in query if one not in rule["query"]]
    if body is None:
        return [*found, f"{name}: a body is required"] if rule["required"] else found
    if rule["body"] is None:
        return [*found, f"{name}: takes no body"]
    if is_multipart and not rule["multipart"]:
        found.append(f"{name}: takes no files")
    found += [f"{name}: {one}" for one in _broken(name, json.dumps(body))]
    message = body.get("data") if isinstance(body, dict) and isinstance(body.get("data"), dict) else body
    return [*found, *(f"{name}: {one}" for one in _untold(message, files))]


@lru_cache(maxsize=500)
def _broken(name: str, body: str) -> tuple[str, ...]:
    return tuple(_explain(error) for error in _validator(name).iter_errors(json.loads(body)))


@lru_cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({**RULES["operations"][name]["body"], "components": RULES["components"]})


def _explain(error: Any, depth: int = 0) -> str:
    if error.context and depth < 4:
        best = min(error.context, key=lambda one: (-len(one.absolute_path), len(one.message)))
        return _explain(best, depth + 1)
    return f"{list(error.absolute_path)}: {error.message[:200]}"


def _untold(body: Any, files: list[str]) -> list[str]:
    """Limits that stand only in Discord's prose."""
    if not isinstance(body, dict):
        return []
    found = []
    if len(body.get("content") or "") > 2000:
        found.append("content of more than 2,000 characters")
    if "content" in body or "attachments" in body:
        mentions = body.get("allowed_mentions")
        if mentions is None or mentions.get("parse") or mentions.get("users") or mentions.get("replied_user"):
            found.append(f"mentions are allowed: {mentions}")
    rows = body.get("components") or []
    if len(rows) > 5 or any(len(row.get("components", [])) > 5 for row in rows):
        found.append("more than 5 rows or 5 buttons in a row")
    known = {str(one.get("id")) for one in body.get("attachments") or []}
    for name in files:
        match = re.fullmatch(r"files\[(\d+)\]", name)
        if match is None or match.group(1) not in known:
            found.append(f"the part {name} has no attachments[].id")
    return found
