"""Runs in the download worker: lists a repo's files and translates the hub's errors. Imports no torch."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
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
from bot.memory.components import ComponentRole, component_role
from bot.model_install.model_headers import DamagedModelFile, read_shape
from bot.models import GGUF_SUFFIX
from bot.ports import HubFile, RepoListing, RepoRef
from bot.settings import hub_cache_dir, hub_repo_dir, nearest_existing_dir
from inference.checkpoints import file_filter, identify
from inference.checkpoints.prequantized import Prequantized, parse_quantization
from inference.hub.kernel_download import inspect_kernels
from inference.hub.remote_gguf import read_remote_header

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_MB = 2**20


def endpoint() -> str:
    return constants.ENDPOINT.rstrip("/")


def repo_url(repo: str) -> str:
    """The repo's web page, without credentials in the address."""
    parts = urlsplit(f"{endpoint()}/{repo}")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextmanager
def translate_errors(repo: str, *, has_token: bool, revision: str = "") -> Iterator[None]:
    """Translate the library's errors to ours."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _error_for_response(repo, error, has_token=has_token, revision=revision) from None
    except HFValidationError:
        raise DownloadFailed(repo, "not_found", url=repo_url(repo)) from None
    except OfflineModeIsEnabled:
        raise DownloadFailed(repo, "offline") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
            raise disk_full() from None
        if is_network_error(error):
            raise DownloadFailed(repo, "unreachable", url=repo_url("").rstrip("/")) from None
        raise


def is_network_error(error: Exception) -> bool:
    """An error of the operating system or of one of the HTTP libraries."""
    return isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "httpcore"))


def _error_for_response(repo: str, error: HfHubHTTPError, *, has_token: bool, revision: str) -> DownloadFailed:
    response, status = getattr(error, "response", None), status_code_of(error)
    if isinstance(error, GatedRepoError) or status in (401, 403):
        code = response.headers.get("x-error-code", "") if response is not None else ""
        if status == 401 and code == "RepoNotFound" and not isinstance(error, GatedRepoError):
            return DownloadFailed(repo, "not_found", url=repo_url(repo))
        return DownloadFailed(repo, "forbidden" if has_token else "gated", url=repo_url(repo))
    if isinstance(error, RevisionNotFoundError):
        return DownloadFailed(repo, "no_revision", url=repo_url(repo), detail=revision)
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return DownloadFailed(repo, "not_found", url=repo_url(repo))
    if status == 429 or status >= 500:
        return DownloadFailed(repo, "busy", url=repo_url("").rstrip("/"))
    return DownloadFailed(repo, "broken")


def status_code_of(error: HfHubHTTPError) -> int:
    """0: there was no response."""
    response = getattr(error, "response", None)
    return response.status_code if response is not None else 0


def auth_headers(token: str, location: str) -> dict[str, str]:
    """The token is sent to the hub only, not to the storage it redirects to."""
    is_hub = urlsplit(location).netloc == urlsplit(endpoint()).netloc
    return {"Authorization": f"Bearer {token}"} if token and is_hub else {}


def free_bytes() -> int:
    return shutil.disk_usage(nearest_existing_dir(hub_cache_dir())).free


def disk_full(need: int = 0) -> StorageFull:
    return StorageFull(free_mb=free_bytes() // _MB, need_mb=need // _MB)


# ---------------------------------------------------------------- listing


def inspect_repo(ref: RepoRef, token: str) -> RepoListing:
    """Raises: DownloadFailed."""
    if ref.is_kernel:
        with translate_errors(ref.repo, has_token=bool(token)):
            return inspect_kernels(ref, free_bytes())
    if constants.HF_HUB_OFFLINE:
        return _inspect_cache(ref)
    from huggingface_hub import HfApi  # more than half of the library's import; downloads do without it

    with translate_errors(ref.repo, has_token=bool(token), revision=ref.revision):
        api = HfApi(token=token or False)
        info = api.model_info(ref.repo, revision=ref.revision or None, files_metadata=True, timeout=30)
    commit = str(info.sha)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    index = _fetch_json(ref.repo, file_filter.INDEX, commit, token) if file_filter.INDEX in siblings else None
    config = None
    if index is None and file_filter.CONFIG in siblings:
        config = _fetch_json(ref.repo, file_filter.CONFIG, commit, token)
    selection = file_filter.select_files(ref, siblings, index)
    files = tuple(_to_hub_file(ref.repo, commit, siblings[path]) for path in selection.paths)
    class_name, base_model = file_filter.class_name_of(index, config), ""
    prequantized = _read_prequantized(ref, selection, commit, token) if index is not None else Prequantized()
    if ref.file:
        with translate_errors(ref.repo, has_token=bool(token)):
            class_name, base_model = _identify_file(api, ref, commit, token)
    card = getattr(info, "card_data", None)
    return RepoListing(
        ref=ref,
        commit=commit,
        files=files,
        licence=str(card.get("license") or "") if card is not None else "",
        is_gated=bool(getattr(info, "gated", False)),
        rejected_files=selection.rejected,
        class_name=class_name,
        base_model=base_model,
        prequantized=prequantized.method,
        precision=prequantized.precision,
        variant=selection.variant,
        cache=str(hub_cache_dir()),
        free_bytes=free_bytes(),
    )


def _read_prequantized(ref: RepoRef, selection: file_filter.FileSelection, commit: str, token: str) -> Prequantized:
    """How its denoiser's files are quantized, as its config says."""
    configs = [
        path
        for path in selection.paths
        if path.endswith("/config.json") and component_role(path) is ComponentRole.DENOISER
    ]
    return parse_quantization(_fetch_json(ref.repo, configs[0], commit, token)) if configs else Prequantized()


def _identify_file(api: "HfApi", ref: RepoRef, commit: str, token: str) -> tuple[str, str]:
    """The pipeline class of a complete model in one file, by its header, empty for anything else; for a `.gguf` file
    also the repo with its other components."""
    if ref.file.endswith(GGUF_SUFFIX):
        return _identify_gguf(ref, commit, token)
    try:
        header = api.parse_safetensors_file_metadata(ref.repo, ref.file, revision=commit, token=token or False)
        shapes = {name: read_shape({"shape": tensor.shape}) for name, tensor in header.tensors.items()}
    except (SafetensorsParsingError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        # The library does not check what the header contains.
        raise DownloadFailed(ref.repo, "no_file", detail=ref.file) from None
    return identify.identify_shapes(shapes).class_name, ""


def _identify_gguf(ref: RepoRef, commit: str, token: str) -> tuple[str, str]:
    found = get_hf_file_metadata(hf_hub_url(ref.repo, ref.file, revision=commit), token=token or False)
    try:
        header = read_remote_header(found.location, auth_headers(token, found.location), int(found.size or 0))
    except DamagedModelFile:
        raise DownloadFailed(ref.repo, "no_file", detail=ref.file) from None
    info = identify.identify_gguf(header, ref.file)
    if not info.class_name:
        raise DownloadFailed(ref.repo, "unknown_gguf", detail=info.reason)
    return info.class_name, str(info.defaults["base_model"])


def _to_hub_file(repo: str, commit: str, sibling: object) -> HubFile:
    lfs = getattr(sibling, "lfs", None)
    size = int(getattr(sibling, "size", 0) or (lfs.size if lfs else 0))
    path = str(getattr(sibling, "rfilename", ""))
    local = try_to_load_from_cache(repo, path, revision=commit)
    is_cached = isinstance(local, str) and Path(local).is_file() and (not size or Path(local).stat().st_size == size)
    return HubFile(path=path, size=size, sha256=str(lfs.sha256) if lfs else "", is_cached=is_cached)


def _fetch_json(repo: str, path: str, commit: str, token: str) -> dict[str, object]:
    with translate_errors(repo, has_token=bool(token)):
        local = hf_hub_download(repo, path, revision=commit, token=token or False)
    content = file_filter.parse_json_object(Path(local).read_text(encoding="utf-8", errors="replace"))
    if content is None:
        raise DownloadFailed(repo, "no_model")
    return content


def _read_cached(path: Path | None) -> dict[str, object] | None:
    return file_filter.parse_json_object(path.read_text(encoding="utf-8", errors="replace")) if path else None


def _inspect_cache(ref: RepoRef) -> RepoListing:
    """Offline: the repo's files in the cache."""
    folder = hub_repo_dir(ref.repo)
    branch_file = folder / "refs" / (ref.revision or "main")
    commit = branch_file.read_text().strip() if branch_file.is_file() else ref.revision
    snapshot = folder / "snapshots" / commit
    if not commit or not snapshot.is_dir():
        raise DownloadFailed(ref.repo, "offline")
    paths = {path.relative_to(snapshot).as_posix(): path for path in snapshot.rglob("*") if path.is_file()}
    index, config = (_read_cached(paths.get(name)) for name in (file_filter.INDEX, file_filter.CONFIG))
    try:
        selection = file_filter.select_files(ref, paths, index)
    except DownloadFailed:
        raise DownloadFailed(ref.repo, "offline") from None
    files = tuple(HubFile(path=path, size=paths[path].stat().st_size, is_cached=True) for path in selection.paths)
    return RepoListing(
        ref=ref,
        commit=commit,
        files=files,
        class_name=file_filter.class_name_of(index, config),
        variant=selection.variant,
        cache=str(hub_cache_dir()),
        free_bytes=free_bytes(),
    )
