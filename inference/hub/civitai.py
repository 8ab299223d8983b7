"""Runs in the download worker: finds a file by Civitai's API, downloads it and compares its hash. Imports no torch.

The token goes to Civitai alone: redirects to its storage, and to any other host, are followed without it.
"""

import hashlib
import ipaddress
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from bot.errors import DownloadFailed, StorageFull
from bot.model_install.civitai_link import civitai_endpoint
from bot.ports import CivitaiFile, CivitaiRef, DownloadProgress
from inference.hub.transfer import RESERVE_BYTES, ProgressMeter, ResumableFile
from inference.ipc.messages import RetryPolicy

_MAX_ANSWER_BYTES = 8 * 2**20
_MAX_REDIRECTS = 5
_MAX_WORDS, _MAX_WORD = 40, 200
_SUFFIX = ".safetensors"
_MB = 2**20


# ---------------------------------------------------------------- finding the file


def inspect(ref: CivitaiRef, token: str) -> CivitaiFile:
    """Raises: DownloadFailed."""
    model_id, version_id = ref.model_id, ref.version_id
    name = f"civitai:{model_id}@{version_id}" if model_id and version_id else f"civitai:{model_id or version_id}"
    title = ""
    if version_id:
        version = _fetch_json(f"/api/v1/model-versions/{version_id}", name, token)
        model_id = _integer(version.get("modelId")) or model_id
        title = _words((version.get("model") or {}).get("name")) if isinstance(version.get("model"), dict) else ""
    else:
        model = _fetch_json(f"/api/v1/models/{model_id}", name, token)
        versions = [one for one in _dicts(model.get("modelVersions")) if _choose_file(one, ref)]
        version = versions[0] if versions else next(iter(_dicts(model.get("modelVersions"))), {})
        title = _words(model.get("name"))
    chosen = _choose_file(version, ref)
    page = f"{civitai_endpoint(os.environ)}/models/{model_id}"
    title = " ".join(filter(None, (title, _words(version.get("name"))))) or name
    if chosen is None:
        names = [_words(one.get("name")) for one in _dicts(version.get("files"))]
        wanted = ref.file or ", ".join(f"{name}={value[:40]}" for name, value in ref.file_fields)
        problem = "no_file" if wanted else "no_weights" if names else "civitai_odd"
        raise DownloadFailed(title, problem, url=page, detail=wanted or ", ".join(names[:6]))
    if "Danger" in (chosen.get("virusScanResult"), chosen.get("pickleScanResult")):
        raise DownloadFailed(title, "civitai_unsafe", url=page, detail=_words(chosen.get("name")))
    hashes = chosen.get("hashes")
    sha256 = str(hashes.get("SHA256") or "").casefold() if isinstance(hashes, dict) else ""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise DownloadFailed(title, "no_hash", url=page)
    trained = version.get("trainedWords")
    words = (_words(word) for word in trained if isinstance(word, str)) if isinstance(trained, list) else ()
    return CivitaiFile(
        title=title,
        page=page,
        file=_words(chosen.get("name")),
        url=_download_url(str(chosen.get("downloadUrl") or ""), title, page),
        size=_size_of(chosen),
        sha256=sha256,
        trigger_words=tuple(filter(None, words))[:_MAX_WORDS],
    )


def _choose_file(version: Mapping[str, Any], ref: CivitaiRef) -> Mapping[str, Any] | None:
    """The file of the name or with the fields that were asked for; else the main one in safetensors."""
    files = [one for one in _dicts(version.get("files")) if _words(one.get("name")).endswith(_SUFFIX)]
    if ref.file:
        return next((one for one in files if one.get("name") == ref.file), None)
    if ref.file_fields:
        files = [one for one in files if _has_fields(one, ref.file_fields)]
        return next((one for one in files if one.get("primary") is True), next(iter(files), None))
    models = [one for one in files if one.get("type") in ("Model", "Pruned Model", "Negative", None)]
    return next((one for one in models if one.get("primary") is True), next(iter(models or files), None))


def _has_fields(file: Mapping[str, Any], fields: Iterable[tuple[str, str]]) -> bool:
    """Whether the file has these values; one that the answer leaves out fits."""
    metadata = file.get("metadata")
    known = {**(metadata if isinstance(metadata, dict) else {}), "type": file.get("type")}
    return all(str(known.get(name) or value).casefold() == value.casefold() for name, value in fields)


def _download_url(url: str, title: str, page: str) -> str:
    """On the endpoint, whatever host the answer names. Raises: DownloadFailed."""
    parts = urlsplit(url)
    if not re.fullmatch(r"/api/download/models/\d+", parts.path):
        raise DownloadFailed(title, "civitai_odd", url=page)
    return f"{civitai_endpoint(os.environ)}{parts.path}{f'?{parts.query}' if parts.query else ''}"


def _fetch_json(path: str, name: str, token: str) -> dict[str, Any]:
    """Raises: DownloadFailed."""
    endpoint = civitai_endpoint(os.environ)
    with (
        _translate_errors(name),
        httpx2.Client(timeout=30.0, follow_redirects=False) as client,
        client.stream("GET", f"{endpoint}{path}", headers=_auth_headers(endpoint, token)) as response,
    ):
        _raise_for_status(response, name, token)
        answer = _read_limited(response)
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DownloadFailed(name, "civitai_odd", url=endpoint)
    return value


def _read_limited(response: httpx2.Response) -> bytes:
    """The body; empty if it is too large."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            return b""
    return bytes(body)


def _raise_for_status(response: httpx2.Response, name: str, token: str) -> None:
    """Raises: DownloadFailed."""
    endpoint = civitai_endpoint(os.environ)
    status = response.status_code
    if status in (401, 403):
        raise DownloadFailed(name, "civitai_forbidden" if token else "civitai_login", url=endpoint)
    if status == 404:
        raise DownloadFailed(name, "civitai_missing", url=endpoint)
    if status == 429 or status >= 500:
        raise DownloadFailed(name, "busy", url=endpoint)
    if status >= 300:
        raise DownloadFailed(name, "civitai_odd", url=endpoint)


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    try:
        yield
    except httpx2.HTTPError:
        raise DownloadFailed(name, "unreachable", url=civitai_endpoint(os.environ)) from None


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _words(value: object) -> str:
    """Text from outside, on one line."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", value).strip()[:_MAX_WORD] if isinstance(value, str) else ""


def _integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _size_of(file: Mapping[str, Any]) -> int:
    size_kb = file.get("sizeKB")
    return round(size_kb * 1024) if isinstance(size_kb, (int, float)) and 0 < size_kb < 2**40 else 0


# ---------------------------------------------------------------- downloading it


def download(file: CivitaiFile, folder: Path, token: str, retry_policy: RetryPolicy) -> Path:
    """The verified file in `folder`. Raises: DownloadFailed, StorageFull."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{file.sha256}{_SUFFIX}"
    part = path.with_name(f"{path.name}.part")
    if path.is_file() and _sha256_of(path) == file.sha256:
        return path
    location, headers, length = _resolve(file, token)
    size = length or file.size
    present = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(folder).free
    if size - present + RESERVE_BYTES > free:
        raise StorageFull(free_mb=free // _MB, need_mb=(size - present + RESERVE_BYTES) // _MB)
    meter = ProgressMeter(size, _ignore)
    try:
        ResumableFile(
            file.title, location, part, size, retry_policy, meter, headers, follows_redirects=False
        ).download()
    except DownloadFailed as failed:
        if failed.problem in ("gated", "forbidden") and not headers:  # a link to the storage that has expired
            raise DownloadFailed(file.title, "broken") from None
        problem = {"gated": "civitai_login", "forbidden": "civitai_forbidden"}.get(failed.problem, failed.problem)
        raise DownloadFailed(file.title, problem, url=civitai_endpoint(os.environ)) from None
    if _sha256_of(part) != file.sha256:
        part.unlink()
        raise DownloadFailed(file.title, "wrong_hash", detail=file.file)
    os.replace(part, path)
    return path


def _resolve(file: CivitaiFile, token: str) -> tuple[str, dict[str, str], int]:
    """Where the bytes are, the headers for it, and their number (0: unknown). Raises: DownloadFailed."""
    url, endpoint = file.url, civitai_endpoint(os.environ)
    with _translate_errors(file.title), httpx2.Client(timeout=30.0, follow_redirects=False) as client:
        for _ in range(_MAX_REDIRECTS):
            headers = _auth_headers(url, token)
            with client.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as response:
                if response.status_code not in (301, 302, 303, 307, 308):
                    _raise_for_status(response, file.title, token)
                    length = response.headers.get("content-length", "")
                    return url, headers, int(length) if length.isdigit() else 0
                url = urljoin(url, response.headers.get("location", ""))
            parts = urlsplit(url)
            if _origin(url) == _origin(endpoint) and PurePosixPath(parts.path).parts[1:2] == ("login",):
                raise DownloadFailed(file.title, "civitai_forbidden" if token else "civitai_login", url=endpoint)
            if parts.scheme != "https" and parts.scheme != urlsplit(endpoint).scheme:
                break
            if _is_inside(url) and not _is_inside(endpoint):
                break
    raise DownloadFailed(file.title, "civitai_odd", url=endpoint)


def _is_inside(url: str) -> bool:
    """Whether its host is this machine or in a private network, as far as this machine can resolve it."""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(urlsplit(url).hostname, None)}
        return any(not ipaddress.ip_address(address.partition("%")[0]).is_global for address in addresses)
    except (OSError, ValueError):
        return False


def _auth_headers(url: str, token: str) -> dict[str, str]:
    is_civitai = _origin(url) == _origin(civitai_endpoint(os.environ))
    return {"Authorization": f"Bearer {token}"} if token and is_civitai else {}


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def _sha256_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _ignore(_progress: DownloadProgress) -> None:
    """The request is one step for the person."""
