"""The download child's side: what a repo has, and what the hub's refusals mean. Imports no torch."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)

from bot.errors import DownloadFailed, StorageFull
from bot.ports import HubFile, Listing, Wanted
from bot.settings import hub_cache, hub_folder, nearest_folder
from inference.checkpoints import file_filter, identify

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_MB = 2**20


def endpoint() -> str:
    return constants.ENDPOINT.rstrip("/")


def page_of(repo: str) -> str:
    """Where a person reads about it; without a password in the address."""
    parts = urlsplit(f"{endpoint()}/{repo}")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextmanager
def explained(repo: str, *, has_token: bool) -> Iterator[None]:
    """The library's errors as ours."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _of_answer(repo, error, has_token=has_token) from None
    except HFValidationError:
        raise DownloadFailed(repo, "not_found", url=page_of(repo)) from None
    except OfflineModeIsEnabled:
        raise DownloadFailed(repo, "offline") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise full() from None
        if is_network(error):
            raise DownloadFailed(repo, "unreachable", url=page_of("").rstrip("/")) from None
        raise


def is_network(error: Exception) -> bool:
    """Whatever of the HTTP libraries it came through."""
    return isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "httpcore"))


def _of_answer(repo: str, error: HfHubHTTPError, *, has_token: bool) -> DownloadFailed:
    response, status = getattr(error, "response", None), status_of(error)
    if isinstance(error, GatedRepoError) or status in (401, 403):
        said = response.headers.get("x-error-code", "") if response is not None else ""
        if status == 401 and said == "RepoNotFound" and not isinstance(error, GatedRepoError):
            return DownloadFailed(repo, "not_found", url=page_of(repo))
        return DownloadFailed(repo, "forbidden" if has_token else "gated", url=page_of(repo))
    if isinstance(error, RevisionNotFoundError):
        return DownloadFailed(repo, "no_revision", url=page_of(repo), detail="that was asked for")
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return DownloadFailed(repo, "not_found", url=page_of(repo))
    if status == 429 or status >= 500:
        return DownloadFailed(repo, "busy", url=page_of("").rstrip("/"))
    return DownloadFailed(repo, "broken")


def status_of(error: HfHubHTTPError) -> int:
    """0: there was no answer."""
    response = getattr(error, "response", None)
    return response.status_code if response is not None else 0


def free_bytes() -> int:
    return shutil.disk_usage(nearest_folder(hub_cache())).free


def full(need: int = 0) -> StorageFull:
    return StorageFull(free_mb=free_bytes() // _MB, need_mb=need // _MB)


# ---------------------------------------------------------------- looking


def look(wanted: Wanted, token: str) -> Listing:
    """Raises: DownloadFailed."""
    if constants.HF_HUB_OFFLINE:
        return _look_here(wanted)
    with explained(wanted.repo, has_token=bool(token)):
        api = HfApi(token=token or False)
        info = api.model_info(wanted.repo, revision=wanted.revision or None, files_metadata=True, timeout=30)
    commit = str(info.sha)
    siblings = {one.rfilename: one for one in info.siblings or ()}
    index = _json_of(wanted.repo, file_filter.INDEX, commit, token) if file_filter.INDEX in siblings else None
    config = None
    if index is None and file_filter.CONFIG in siblings:
        config = _json_of(wanted.repo, file_filter.CONFIG, commit, token)
    chosen = file_filter.choose(wanted, siblings, index)
    files = tuple(_file(wanted.repo, commit, siblings[path]) for path in chosen.paths)
    kind = file_filter.kind_of(index, config)
    if wanted.file:
        with explained(wanted.repo, has_token=bool(token)):
            kind = _kind_of_file(api, wanted, commit, token)
    card = getattr(info, "card_data", None)
    return Listing(
        wanted=wanted,
        commit=commit,
        files=files,
        licence=str(card.get("license") or "") if card is not None else "",
        is_gated=bool(getattr(info, "gated", False)),
        refused=chosen.refused,
        kind=kind,
        variant=chosen.variant,
        cache=str(hub_cache()),
        free=free_bytes(),
    )


def _kind_of_file(api: HfApi, wanted: Wanted, commit: str, token: str) -> str:
    """By its first bytes: the pipeline's class of a whole model, empty for anything else."""
    try:
        header = api.parse_safetensors_file_metadata(wanted.repo, wanted.file, revision=commit, token=token or False)
    except SafetensorsParsingError:
        raise DownloadFailed(wanted.repo, "no_file", detail=wanted.file) from None
    return identify.of_shapes({name: list(tensor.shape) for name, tensor in header.tensors.items()}).class_name


def _file(repo: str, commit: str, sibling: object) -> HubFile:
    lfs = getattr(sibling, "lfs", None)
    size = int(getattr(sibling, "size", 0) or (lfs.size if lfs else 0))
    path = str(getattr(sibling, "rfilename", ""))
    found = try_to_load_from_cache(repo, path, revision=commit)
    is_here = isinstance(found, str) and Path(found).is_file() and (not size or Path(found).stat().st_size == size)
    return HubFile(path=path, size=size, sha256=str(lfs.sha256) if lfs else "", is_here=is_here)


def _json_of(repo: str, path: str, commit: str, token: str) -> dict[str, object]:
    with explained(repo, has_token=bool(token)):
        found = hf_hub_download(repo, path, revision=commit, token=token or False)
    content = file_filter.read_json(Path(found).read_text(encoding="utf-8", errors="replace"))
    if content is None:
        raise DownloadFailed(repo, "no_model")
    return content


def _look_here(wanted: Wanted) -> Listing:
    """Offline: what the cache has of it."""
    folder = hub_folder(wanted.repo)
    ref = folder / "refs" / (wanted.revision or "main")
    commit = ref.read_text().strip() if ref.is_file() else wanted.revision
    snapshot = folder / "snapshots" / commit
    if not commit or not snapshot.is_dir():
        raise DownloadFailed(wanted.repo, "offline")
    paths = {path.relative_to(snapshot).as_posix(): path for path in snapshot.rglob("*") if path.is_file()}
    index = file_filter.read_json(paths[file_filter.INDEX].read_text()) if file_filter.INDEX in paths else None
    config = file_filter.read_json(paths[file_filter.CONFIG].read_text()) if file_filter.CONFIG in paths else None
    try:
        chosen = file_filter.choose(wanted, paths, index)
    except DownloadFailed:
        raise DownloadFailed(wanted.repo, "offline") from None
    files = tuple(HubFile(path=path, size=paths[path].stat().st_size, is_here=True) for path in chosen.paths)
    return Listing(
        wanted=wanted,
        commit=commit,
        files=files,
        kind=file_filter.kind_of(index, config),
        variant=chosen.variant,
        cache=str(hub_cache()),
        free=free_bytes(),
    )
