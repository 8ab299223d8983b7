"""The download child's side: a repo's bytes, into Hugging Face's own cache. Imports no torch.

The library keeps nothing of a file that broke off, so the bytes are fetched here: into `blobs/ETAG.part` of the cache,
resumed by range, checked by hash, then named as the library names them, which links them into the snapshot.
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError

from bot.errors import DownloadFailed
from bot.ports import HubFile, Listing, Transfer
from bot.settings import hub_folder
from inference.hub.listing import FULL_DISK, endpoint, explained, free_bytes, full, is_network, page_of, status_of
from inference.ipc.messages import Patience

_CHUNK = 2**20
_TELL_S = 0.25
_RATE_S = 3.0
_SETTLE_S = 1.0
"""Before that a rate says more of the first answer's delay than of the line."""
T = TypeVar("T")
RESERVE = 64 * 2**20
"""Bytes that a download leaves free in any case."""


@dataclass
class Meter:
    """Bytes so far, and how fast of late; tells at most a few times a second."""

    total: int
    tell: Callable[[Transfer], None]
    done: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _told: float = 0.0

    def add(self, count: int, *, stage: str = "downloading", is_news: bool = False) -> None:
        self.done += count
        now = time.monotonic()
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_S:
            self._marks.popleft()
        if not is_news and now - self._told < _TELL_S:
            return
        self._told = now
        (since, before), (until, after) = self._marks[0], self._marks[-1]
        has_settled = until - since >= _SETTLE_S and stage == "downloading"
        rate = max(0.0, (after - before) / (until - since)) if has_settled else 0.0
        left = (self.total - self.done) / rate if rate else None
        self.tell(Transfer(done=self.done, total=self.total, rate=rate, eta_s=left, stage=stage))


def fetch(listing: Listing, token: str, patience: Patience, tell: Callable[[Transfer], None]) -> None:
    """Raises: DownloadFailed, StorageFull."""
    missing = listing.missing
    if missing and missing + RESERVE > free_bytes() + _partly(listing):
        raise full(missing + RESERVE)
    meter = Meter(listing.total, tell, done=listing.total - missing)
    for file in sorted(listing.files, key=lambda file: -file.size):  # the large ones say how fast the line is
        if not file.is_here:
            _fetch_file(listing, file, token, patience, meter)
    if missing:
        meter.add(0, is_news=True)
    if constants.HF_HUB_OFFLINE:
        return
    refs = hub_folder(listing.wanted.repo) / "refs"
    refs.mkdir(parents=True, exist_ok=True)
    (refs / "main").write_text(listing.commit, encoding="utf-8")


def _partly(listing: Listing) -> int:
    """Bytes of earlier tries, which take room already."""
    folder = hub_folder(listing.wanted.repo) / "blobs"
    return sum(path.stat().st_size for path in folder.glob("*.part")) if folder.is_dir() else 0


def _fetch_file(listing: Listing, file: HubFile, token: str, patience: Patience, meter: Meter) -> None:
    repo = listing.wanted.repo
    folder = hub_folder(repo) / "blobs"
    url = hf_hub_url(repo, file.path, revision=listing.commit)
    for attempt in (1, 2):
        before = meter.done
        with explained(repo, has_token=bool(token)):
            about = _patiently(repo, patience, lambda: get_hf_file_metadata(url, token=token or False))
            folder.mkdir(parents=True, exist_ok=True)
        blob = folder / str(about.etag)
        part = blob.with_name(f"{blob.name}.part")
        size = file.size or int(about.size or 0)
        if not blob.is_file() or blob.stat().st_size != size:
            _Stream(repo, about.location, part, size, patience, meter, _headers(token, about.location)).run()
            if not _is_right(part, replace(file, size=size), str(about.etag), meter):
                part.unlink(missing_ok=True)
                meter.done = before
                if attempt == 2:
                    raise DownloadFailed(repo, "damaged", detail=file.path)
                continue
            os.replace(part, blob)
        else:
            meter.add(size)
        with explained(repo, has_token=bool(token)):
            hf_hub_download(repo, file.path, revision=listing.commit, token=token or False)
        return


def _patiently(repo: str, patience: Patience, ask: Callable[[], T]) -> T:
    """The answer of a hub that stumbles now and then. Raises: what the last try raised."""
    for attempt in range(1, patience.tries + 1):
        try:
            return ask()
        except Exception as error:
            if attempt == patience.tries or not _may_pass(error):
                raise
        time.sleep(patience.pause_s * 2 ** (attempt - 1))
    raise DownloadFailed(repo, "broken")


def _may_pass(error: Exception) -> bool:
    """Another try may do better."""
    if isinstance(error, HfHubHTTPError):
        status = status_of(error)
        return status == 429 or status >= 500
    return is_network(error)


def _headers(token: str, location: str) -> dict[str, str]:
    """The token is for the hub alone, not for where it keeps its files."""
    is_hub = urlsplit(location).netloc == urlsplit(endpoint()).netloc
    return {"Authorization": f"Bearer {token}"} if token and is_hub else {}


@dataclass
class _Stream:
    """One file into its `.part`, going on where it broke off."""

    repo: str
    url: str
    part: Path
    size: int
    patience: Patience
    meter: Meter
    headers: dict[str, str]

    def run(self) -> None:
        at = self.part.stat().st_size if self.part.exists() else 0
        if at > self.size:
            self.part.unlink()
            at = 0
        self.meter.add(at, is_news=True)
        failures = 0
        while at < self.size or not self.part.exists():
            problem, wait_s = self._once(at)
            now_at = self.part.stat().st_size if self.part.exists() else 0
            failures = 0 if now_at > at else failures + 1
            at = now_at
            if problem and at < self.size:
                if failures >= self.patience.tries:
                    raise DownloadFailed(self.repo, problem, url=page_of("").rstrip("/"))
                time.sleep(wait_s if wait_s is not None else self.patience.pause_s * 2 ** max(0, failures - 1))

    def _once(self, at: int) -> tuple[str, float | None]:
        """One request from here on. Returns what went wrong, "" for nothing, and how long to wait."""
        headers = self.headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={at}-"} if at else {})
        timeout = httpx2.Timeout(self.patience.stall_s, connect=min(30.0, self.patience.stall_s))
        try:
            with (
                httpx2.Client(timeout=timeout, follow_redirects=True) as client,
                client.stream("GET", self.url, headers=headers) as answer,
            ):
                if answer.status_code == 429 or answer.status_code >= 500:
                    return "busy", _asked_s(answer, self.patience)
                if answer.status_code == 416:
                    self.part.unlink(missing_ok=True)
                    return "broken", None
                if answer.status_code in (401, 403):
                    raise DownloadFailed(self.repo, "forbidden" if self.headers else "gated", url=page_of(self.repo))
                if answer.is_error:
                    return "broken", None
                self._write(answer, at if answer.status_code == 206 else 0, at)
        except httpx2.TimeoutException:
            return "stalled", None
        except httpx2.TransportError:
            return "broken", None
        return "", None

    def _write(self, answer: httpx2.Response, start: int, was_at: int) -> None:
        if start != was_at:
            self.meter.add(start - was_at)  # the hub sends all of it again
        try:
            with self.part.open("r+b" if start else "wb") as file:
                if start:
                    file.seek(start)
                    file.truncate()
                for chunk in answer.iter_bytes():
                    file.write(chunk)
                    self.meter.add(len(chunk))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno in FULL_DISK:
                raise full(self.size - start) from None
            raise


def _asked_s(answer: httpx2.Response, patience: Patience) -> float | None:
    asked = answer.headers.get("retry-after", "")
    return min(float(asked), patience.most_s) if asked.replace(".", "", 1).isdigit() else None


def _is_right(part: Path, file: HubFile, etag: str, meter: Meter) -> bool:
    """Its size, and the hash that the hub names: SHA-256 of large files, git's own of small ones."""
    size = part.stat().st_size
    if file.size and size != file.size:
        return False
    wanted = file.sha256 or (etag if len(etag) == 64 else "")
    is_git = not wanted and len(etag) == 40
    if not wanted and not is_git:
        return True
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False) if is_git else hashlib.sha256()
    with part.open("rb") as content:
        while chunk := content.read(8 * _CHUNK):
            digest.update(chunk)
            meter.add(0, stage="checking")
    return digest.hexdigest() == (etag if is_git else wanted)
