"""The parent's side of downloads: starts a child for each request and relays its messages."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.errors import DownloadFailed, EaselError, ModelRefused
from bot.model_install.civitai_link import civitai_endpoint, is_civitai_link, parse_civitai_link
from bot.ports import CivitaiFile, CivitaiRef, DownloadProgress, RepoListing, RepoRef
from bot.settings import hub_cache_dir, hub_repo_dir
from inference.ipc import messages
from inference.ipc.environment import clean_environment
from inference.ipc.process import ChildProcess

_NETWORK = re.compile(
    r"HF_ENDPOINT|CIVITAI_ENDPOINT|HF_HUB_OFFLINE|HF_HUB_DOWNLOAD_TIMEOUT|HF_HUB_ETAG_TIMEOUT|HF_HUB_DISABLE_SYMLINKS\w*"
    r"|(?:https?|all|no)_proxy|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE",
    re.IGNORECASE,
)


def network_environment(environ: Mapping[str, str], token: Mapping[str, str]) -> dict[str, str]:
    """The download child's variables: those of every child, the network settings, and the token of one hub."""
    allowed = clean_environment(environ) | {name: value for name, value in environ.items() if _NETWORK.fullmatch(name)}
    if not environ.get("HF_HUB_OFFLINE"):
        del allowed["HF_HUB_OFFLINE"]
    # Files are downloaded by range and resumed; Xet's protocol cannot resume after a restart.
    allowed["HF_HUB_DISABLE_XET"] = "1"
    return allowed | {name: value for name, value in token.items() if value}


@dataclass
class HubClient:
    """Implements `bot.ports.Downloads`."""

    token: str = field(default="", repr=False)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    retry_policy: messages.RetryPolicy = field(default_factory=messages.RetryPolicy)
    civitai_token: str = field(default="", repr=False)
    _downloading: set[str] = field(default_factory=set)

    async def inspect_repo(self, ref: RepoRef) -> RepoListing:
        async with self._start_child(ref.repo, {"HF_TOKEN": self.token}) as child:
            child.send(messages.InspectRepo(ref))
            listing = _raise_if_failed(ref.repo, await _receive(child, ref.repo))
        assert isinstance(listing, RepoListing)
        return listing

    async def download(self, listing: RepoListing) -> AsyncGenerator[DownloadProgress, None]:
        repo = listing.ref.repo
        if repo in self._downloading:
            raise DownloadFailed(repo, "twice")
        self._downloading.add(repo)
        try:
            async with self._start_child(repo, {"HF_TOKEN": self.token}) as child:
                child.send(messages.DownloadRepo(listing, self.retry_policy))
                while True:
                    message = _raise_if_failed(repo, await _receive(child, repo))
                    if isinstance(message, messages.DownloadDone):
                        return
                    yield message
        finally:
            self._downloading.discard(repo)

    def civitai_ref(self, source: str) -> CivitaiRef | None:
        if not is_civitai_link(source, civitai_endpoint(self.environ)):
            return None
        ref = parse_civitai_link(source)
        if ref is None:
            raise ModelRefused(source.partition("?")[0][:80], "civitai_link")
        return ref

    async def inspect_civitai(self, ref: CivitaiRef) -> CivitaiFile:
        found = await self._ask_civitai("civitai", ref)
        assert isinstance(found, CivitaiFile)
        return found

    async def download_civitai(self, file: CivitaiFile, folder: Path) -> Path:
        if file.sha256 in self._downloading:
            raise DownloadFailed(file.title, "twice")
        self._downloading.add(file.sha256)
        try:
            request = messages.DownloadCivitai(file, str(folder), self.retry_policy)
            return Path((await self._ask_civitai(file.title, request)).path)
        finally:
            self._downloading.discard(file.sha256)

    async def _ask_civitai(self, title: str, request: object) -> Any:
        async with self._start_child(title, {"CIVITAI_TOKEN": self.civitai_token}) as child:
            child.send(request)
            return _raise_if_failed(title, await _receive(child, title))

    @asynccontextmanager
    async def _start_child(self, repo: str, token: Mapping[str, str]) -> AsyncGenerator[ChildProcess, None]:
        environ = network_environment(self.environ, token)
        try:
            child = await ChildProcess.start("downloads", "inference.hub.worker", environ=environ)
        except OSError as error:
            raise DownloadFailed(repo, "broken") from error
        try:
            yield child
        finally:
            await child.close()

    async def disk_usage(self) -> dict[str, int]:
        return await asyncio.to_thread(_cache_usage)

    async def delete_repo(self, repo: str) -> int:
        return await asyncio.to_thread(_delete_repo, repo)


async def _receive(child: ChildProcess, repo: str) -> Any:
    try:
        message = await child.receive()
    except messages.ProtocolError:
        message = None
    if message is None:
        raise DownloadFailed(repo, "broken")
    return message


def _raise_if_failed(repo: str, message: Any) -> Any:
    if isinstance(message, messages.PackedError):
        error: EaselError = messages.unpack_error(message)
        raise error
    return message


def _cache_usage() -> dict[str, int]:
    sizes = {}
    for folder in hub_cache_dir().glob("models--*"):
        repo = folder.name.removeprefix("models--").replace("--", "/", 1)
        files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        sizes[repo] = sum(path.stat().st_size for path in files)
    return sizes


def _delete_repo(repo: str) -> int:
    folder = hub_repo_dir(repo)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo) or not folder.is_dir():
        return 0
    freed = _cache_usage().get(repo, 0)
    shutil.rmtree(folder)
    return freed
