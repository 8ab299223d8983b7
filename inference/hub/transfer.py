"""Runs in the download worker: downloads a repo's files into Hugging Face's own cache. Imports no torch.

The library discards interrupted downloads, so files are downloaded here: into `blobs/ETAG.part` of the cache, resumed
by range, verified by hash, then renamed to the library's name, after which the library links them into the snapshot.
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError

from bot.errors import DownloadFailed
from bot.ports import DownloadProgress, HubFile, RepoListing
from bot.settings import hub_repo_dir
from inference.hub.kernel_download import download_kernels
from inference.hub.listing import (
    DISK_FULL_ERRNOS,
    auth_headers,
    disk_full,
    free_bytes,
    is_network_error,
    repo_url,
    status_code_of,
    translate_errors,
)
from inference.ipc.messages import RetryPolicy

_CHUNK_BYTES = 2**20
_REPORT_INTERVAL_S = 0.25
_RATE_WINDOW_S = 3.0
_MIN_RATE_WINDOW_S = 1.0
"""Over less time the first response's delay would distort the rate."""
T = TypeVar("T")
RESERVE_BYTES = 64 * 2**20
"""Bytes of free disk space that a download must leave."""


@dataclass
class ProgressMeter:
    """Counts bytes and measures the recent rate; reports at most a few times a second."""

    total: int
    report: Callable[[DownloadProgress], None]
    done: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _reported_at: float = 0.0

    def add(self, count: int, *, stage: str = "downloading", must_report: bool = False) -> None:
        self.done += count
        now = time.monotonic()
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_WINDOW_S:
            self._marks.popleft()
        if not must_report and now - self._reported_at < _REPORT_INTERVAL_S:
            return
        self._reported_at = now
        (since, before), (until, after) = self._marks[0], self._marks[-1]
        is_rate_known = until - since >= _MIN_RATE_WINDOW_S and stage == "downloading"
        rate = max(0.0, (after - before) / (until - since)) if is_rate_known else 0.0
        eta_s = (self.total - self.done) / rate if rate else None
        self.report(DownloadProgress(done=self.done, total=self.total, rate=rate, eta_s=eta_s, stage=stage))


def download(
    listing: RepoListing, token: str, retry_policy: RetryPolicy, report: Callable[[DownloadProgress], None]
) -> None:
    """Raises: DownloadFailed, StorageFull."""
    if listing.ref.is_kernel:
        with translate_errors(listing.ref.repo, has_token=bool(token)):
            download_kernels(listing, report)
        return
    missing = listing.missing_bytes
    if missing and missing + RESERVE_BYTES > free_bytes() + _partial_bytes(listing):
        raise disk_full(missing + RESERVE_BYTES)
    meter = ProgressMeter(listing.total_bytes, report, done=listing.total_bytes - missing)
    for file in sorted(listing.files, key=lambda file: -file.size):  # large files show the rate best
        if not file.is_cached:
            _download_file(listing, file, token, retry_policy, meter)
    if missing:
        meter.add(0, must_report=True)
    if constants.HF_HUB_OFFLINE:
        return
    refs = hub_repo_dir(listing.ref.repo) / "refs"
    refs.mkdir(parents=True, exist_ok=True)
    (refs / "main").write_text(listing.commit, encoding="utf-8")


def _partial_bytes(listing: RepoListing) -> int:
    """Bytes on the disk from earlier attempts."""
    folder = hub_repo_dir(listing.ref.repo) / "blobs"
    return sum(path.stat().st_size for path in folder.glob("*.part")) if folder.is_dir() else 0


def _download_file(
    listing: RepoListing, file: HubFile, token: str, retry_policy: RetryPolicy, meter: ProgressMeter
) -> None:
    repo = listing.ref.repo
    folder = hub_repo_dir(repo) / "blobs"
    url = hf_hub_url(repo, file.path, revision=listing.commit)
    for attempt in (1, 2):
        before = meter.done
        with translate_errors(repo, has_token=bool(token)):
            metadata = _with_retries(repo, retry_policy, lambda: get_hf_file_metadata(url, token=token or False))
            folder.mkdir(parents=True, exist_ok=True)
        blob = folder / str(metadata.etag)
        part = blob.with_name(f"{blob.name}.part")
        size = file.size or int(metadata.size or 0)
        if not blob.is_file() or blob.stat().st_size != size:
            headers = auth_headers(token, metadata.location)
            ResumableFile(repo, metadata.location, part, size, retry_policy, meter, headers).download()
            if not _is_intact(part, replace(file, size=size), str(metadata.etag), meter):
                part.unlink(missing_ok=True)
                meter.done = before
                if attempt == 2:
                    raise DownloadFailed(repo, "damaged", detail=file.path)
                continue
            os.replace(part, blob)
        else:
            meter.add(size)
        with translate_errors(repo, has_token=bool(token)):
            hf_hub_download(repo, file.path, revision=listing.commit, token=token or False)
        return


def _with_retries(repo: str, retry_policy: RetryPolicy, request: Callable[[], T]) -> T:
    """Repeat a request that fails with transient errors. Raises: the error of the last attempt."""
    for attempt in range(1, retry_policy.max_attempts + 1):
        try:
            return request()
        except Exception as error:
            if attempt == retry_policy.max_attempts or not _is_transient(error):
                raise
        time.sleep(retry_policy.backoff_s * 2 ** (attempt - 1))
    raise DownloadFailed(repo, "broken")


def _is_transient(error: Exception) -> bool:
    """Whether another attempt could succeed."""
    if isinstance(error, HfHubHTTPError):
        status = status_code_of(error)
        return status == 429 or status >= 500
    return is_network_error(error)


@dataclass
class ResumableFile:
    """Downloads one file into its `.part` file, resuming where it was interrupted."""

    repo: str
    url: str
    part: Path
    size: int
    retry_policy: RetryPolicy
    meter: ProgressMeter
    headers: dict[str, str]
    follows_redirects: bool = True

    def download(self) -> None:
        offset = self.part.stat().st_size if self.part.exists() else 0
        if offset > self.size:
            self.part.unlink()
            offset = 0
        self.meter.add(offset, must_report=True)
        failures, most = 0, offset
        while offset < self.size or not self.part.exists():
            problem, wait_s = self._download_from(offset)
            offset = self.part.stat().st_size if self.part.exists() else 0
            failures = 0 if offset > most else failures + 1
            most = max(most, offset)
            if offset < self.size or not self.part.exists():
                if failures >= self.retry_policy.max_attempts:
                    raise DownloadFailed(self.repo, problem or "broken", url=repo_url("").rstrip("/"))
                time.sleep(wait_s if wait_s is not None else self.retry_policy.backoff_s * 2 ** max(0, failures - 1))

    def _download_from(self, offset: int) -> tuple[str, float | None]:
        """Make one request. Returns the problem, "" if there was none, and the delay that the hub asks for."""
        headers = self.headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        stall_timeout_s = self.retry_policy.stall_timeout_s
        timeout = httpx2.Timeout(stall_timeout_s, connect=min(30.0, stall_timeout_s))
        try:
            with (
                httpx2.Client(timeout=timeout, follow_redirects=self.follows_redirects) as client,
                client.stream("GET", self.url, headers=headers) as response,
            ):
                if response.status_code == 429 or response.status_code >= 500:
                    return "busy", _retry_after_s(response, self.retry_policy)
                if response.status_code == 416:
                    self.part.unlink(missing_ok=True)
                    return "broken", None
                if response.status_code in (401, 403):
                    raise DownloadFailed(self.repo, "forbidden" if self.headers else "gated", url=repo_url(self.repo))
                if not response.is_success:
                    return "broken", None
                self._write_body(response, start=offset if response.status_code == 206 else 0, expected=offset)
        except httpx2.TimeoutException:
            return "stalled", None
        except httpx2.TransportError:
            return "broken", None
        return "", None

    def _write_body(self, response: httpx2.Response, *, start: int, expected: int) -> None:
        if start != expected:
            self.meter.add(start - expected)  # the hub sends the whole file again
        try:
            with self.part.open("r+b" if start else "wb") as file:
                if start:
                    file.seek(start)
                    file.truncate()
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    self.meter.add(len(chunk))
                    if self.size and file.tell() > self.size:
                        break  # the hash will tell that it is another file
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno in DISK_FULL_ERRNOS:
                raise disk_full(self.size - start) from None
            raise


def _retry_after_s(response: httpx2.Response, retry_policy: RetryPolicy) -> float | None:
    value = response.headers.get("retry-after", "")
    return min(float(value), retry_policy.max_backoff_s) if value.replace(".", "", 1).isdigit() else None


def _is_intact(part: Path, file: HubFile, etag: str, meter: ProgressMeter) -> bool:
    """Whether its size and hash are the hub's: SHA-256 for large files, git's blob hash for small ones."""
    size = part.stat().st_size
    if file.size and size != file.size:
        return False
    sha256 = file.sha256 or (etag if len(etag) == 64 else "")
    is_git = not sha256 and len(etag) == 40
    if not sha256 and not is_git:
        return True
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False) if is_git else hashlib.sha256()
    with part.open("rb") as content:
        while chunk := content.read(8 * _CHUNK_BYTES):
            digest.update(chunk)
            meter.add(0, stage="checking")
    return digest.hexdigest() == (etag if is_git else sha256)
