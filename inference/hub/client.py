"""The parent's side of downloads: starts a child for each order and passes on what it says."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bot.errors import DownloadFailed, EaselError
from bot.ports import Listing, Transfer, Wanted
from bot.settings import hub_cache, hub_folder
from inference.ipc import messages
from inference.ipc.environment import clean_environment
from inference.ipc.process import ChildProcess

_NETWORK = re.compile(
    r"HF_ENDPOINT|HF_HUB_OFFLINE|HF_HUB_DOWNLOAD_TIMEOUT|HF_HUB_ETAG_TIMEOUT|HF_HUB_DISABLE_SYMLINKS\w*"
    r"|(?:https?|all|no)_proxy|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE",
    re.IGNORECASE,
)


def network_environment(environ: Mapping[str, str], token: str) -> dict[str, str]:
    """What the download child may see: what every child sees, the network's variables, and the token."""
    kept = clean_environment(environ) | {name: value for name, value in environ.items() if _NETWORK.fullmatch(name)}
    if not environ.get("HF_HUB_OFFLINE"):
        del kept["HF_HUB_OFFLINE"]
    # The bytes are fetched by range and resumed, which xet's own protocol does not do over a restart.
    kept["HF_HUB_DISABLE_XET"] = "1"
    return kept | ({"HF_TOKEN": token} if token else {})


@dataclass
class HubDownloads:
    """Implements `bot.ports.Downloads`."""

    token: str = field(default="", repr=False)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    patience: messages.Patience = field(default_factory=messages.Patience)
    _busy: set[str] = field(default_factory=set)

    async def look(self, wanted: Wanted) -> Listing:
        async with self._child(wanted.repo) as child:
            child.post(messages.Look(wanted))
            listing = _checked(wanted.repo, await _next(child, wanted.repo))
        assert isinstance(listing, Listing)
        return listing

    async def fetch(self, listing: Listing) -> AsyncGenerator[Transfer, None]:
        repo = listing.wanted.repo
        if repo in self._busy:
            raise DownloadFailed(repo, "twice")
        self._busy.add(repo)
        try:
            async with self._child(repo) as child:
                child.post(messages.Fetch(listing, self.patience))
                while not isinstance(said := _checked(repo, await _next(child, repo)), messages.Fetched):
                    yield said
        finally:
            self._busy.discard(repo)

    @asynccontextmanager
    async def _child(self, repo: str) -> AsyncGenerator[ChildProcess, None]:
        environ = network_environment(self.environ, self.token)
        try:
            child = await ChildProcess.start("downloads", "inference.hub.worker", environ=environ)
        except OSError as error:
            raise DownloadFailed(repo, "broken") from error
        try:
            yield child
        finally:
            await child.close()

    async def usage(self) -> dict[str, int]:
        return await asyncio.to_thread(_usage)

    async def remove(self, repo: str) -> int:
        return await asyncio.to_thread(_remove, repo)


async def _next(child: ChildProcess, repo: str) -> Any:
    try:
        said = await child.receive()
    except messages.BadFrame:
        said = None
    if said is None:
        raise DownloadFailed(repo, "broken")
    return said


def _checked(repo: str, said: Any) -> Any:
    if isinstance(said, messages.Failure):
        error: EaselError = messages.unpack_error(said)
        raise error
    return said


def _usage() -> dict[str, int]:
    found = {}
    for folder in hub_cache().glob("models--*"):
        repo = folder.name.removeprefix("models--").replace("--", "/", 1)
        found[repo] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return found


def _remove(repo: str) -> int:
    folder = hub_folder(repo)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo) or not folder.is_dir():
        return 0
    freed = _usage().get(repo, 0)
    shutil.rmtree(folder)
    return freed
