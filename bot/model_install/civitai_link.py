"""Recognises links to models at Civitai: a model's page, one version of it, a download, an AIR. Pure."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from bot.ports import CivitaiRef

HOSTS = frozenset({"civitai.com", "civitai.green", "civitai.red"})
_FILE_FIELDS = ("type", "format", "size", "fp")
"""What a download link says about the file that it means, if the version has several."""
_MODEL = re.compile(r"/(?:api/v1/)?models/(\d{1,12})(?:[/@]|$)")
_VERSION = re.compile(r"/(?:api/v1/model-versions|model-versions|api/download/models)/(\d{1,12})(?:/|$)")
_AIR = re.compile(r"(?:urn:air:[\w.-]+:[\w.-]+:)?civitai:(\d{1,12})(?:@(\d{1,12}))?", re.IGNORECASE)


def civitai_endpoint(environ: Mapping[str, str]) -> str:
    """Where Civitai's API is: `CIVITAI_ENDPOINT` names another server."""
    return (environ.get("CIVITAI_ENDPOINT", "").strip() or "https://civitai.com").rstrip("/")


def is_civitai_link(source: str, endpoint: str) -> bool:
    """Whether the text is meant for Civitai, or for the server at `endpoint` that stands for it."""
    return _AIR.fullmatch(source.strip()) is not None or _host_of(source) in HOSTS | {_host_of(endpoint)} - {""}


def parse_civitai_link(source: str) -> CivitaiRef | None:
    """None: it names no model. A token in the link is ignored."""
    source = source.strip()
    if air := _AIR.fullmatch(source):
        return CivitaiRef(model_id=int(air[1]), version_id=int(air[2] or 0))
    parts = urlsplit(source if "//" in source else f"https://{source}")
    query = parse_qs(parts.query)
    if version := _VERSION.match(parts.path):
        fields = tuple((name, query[name][0]) for name in _FILE_FIELDS if name in query)
        return CivitaiRef(version_id=int(version[1]), file_fields=fields)
    model = _MODEL.match(parts.path)
    if model is None:
        return None
    wanted = query.get("modelVersionId", ["0"])[0]
    return CivitaiRef(model_id=int(model[1]), version_id=int(wanted) if re.fullmatch(r"\d{1,12}", wanted) else 0)


def _host_of(source: str) -> str:
    """With its port, unless it is the usual one; without `www.`; empty for what is no address of the web."""
    source = source.strip()
    try:
        parts = urlsplit(source if "//" in source else f"https://{source}")
        is_web = parts.scheme in ("http", "https") and "/" in source
        port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
        return (parts.hostname or "").removeprefix("www.") + port if is_web else ""
    except ValueError:
        return ""
