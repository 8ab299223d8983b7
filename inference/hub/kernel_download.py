"""Runs in the download worker: fetches compiled kernels that an owner allowed, with the library `kernels`.

That library chooses the build for this machine's torch, and imports torch for it.
"""

from collections.abc import Callable

from bot.errors import DownloadFailed
from bot.memory.format_check import KERNEL_VERSION
from bot.ports import DownloadProgress, HubFile, RepoListing, RepoRef
from bot.settings import hub_cache_dir

_ESTIMATED_BYTES = 64 * 2**20
"""Shown before the download; the library does not tell the size."""


def inspect_kernels(ref: RepoRef, free_bytes: int) -> RepoListing:
    """Raises: DownloadFailed: the library is not installed."""
    build = HubFile(path="build", size=_ESTIMATED_BYTES, is_cached=_install(ref, local_files_only=True))
    return RepoListing(
        ref=ref, commit=f"v{KERNEL_VERSION}", files=(build,), cache=str(hub_cache_dir()), free_bytes=free_bytes
    )


def download_kernels(listing: RepoListing, report: Callable[[DownloadProgress], None]) -> None:
    """Raises: DownloadFailed: there is no build for this machine."""
    if not _install(listing.ref, local_files_only=False):
        raise DownloadFailed(listing.ref.repo, "no_kernels")
    report(DownloadProgress(done=listing.total_bytes, total=listing.total_bytes))


def _install(ref: RepoRef, *, local_files_only: bool) -> bool:
    """Whether the kernels are in the cache now; network errors are the caller's."""
    try:
        from kernels import install_kernel
    except ImportError:
        raise DownloadFailed(ref.repo, "no_kernels_library") from None
    try:
        install_kernel(
            ref.repo, version=KERNEL_VERSION, local_files_only=local_files_only, trust_remote_code=[ref.repo]
        )
    except (ValueError, FileNotFoundError):  # not in the cache, or no build for this torch and card
        return False
    return True
