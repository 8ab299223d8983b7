"""Image files, named by the SHA-256 of their bytes: `ab/cd/abcd....png` in the media folder.

A file is complete and on disk before any row refers to it. Thumbnails are beside their image, as `abcd....w256.webp`,
and go with it. Blocking: call from a thread.
"""

import errno
import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from bot.errors import StorageFull, UnsupportedMedia
from bot.jobs import Media
from bot.runtime.durable_files import fsync_path
from bot.runtime.private_files import FOLDER_MODE

ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
TEMPORARY = ".partial"
_ID = re.compile(r"[0-9a-f]{64}")


def is_media_id(media_id: str) -> bool:
    """Only valid ids become part of a path."""
    return _ID.fullmatch(media_id) is not None


def owner_of(path: Path) -> str:
    """The id of the image that a file belongs to: the image itself, or a thumbnail of it."""
    return path.name.partition(".")[0]


class MediaFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # held between checking a file and removing it

    def path(self, media_id: str, media_type: str) -> Path:
        if not is_media_id(media_id):
            raise ValueError("not a media id")
        return self._folder / media_id[:2] / media_id[2:4] / f"{media_id}.{ENDINGS[media_type]}"

    def thumbnail_path(self, media_id: str, width: int) -> Path:
        return self.path(media_id, "image/webp").with_name(f"{media_id}.w{width}.webp")

    def write_file(self, media: Media) -> str:
        """Returns the id. If the file exists, only its modification time is updated.

        Raises: StorageFull, UnsupportedMedia.
        """
        if media.media_type not in ENDINGS:
            raise UnsupportedMedia("format", found=media.media_type)
        media_id = hashlib.sha256(media.data).hexdigest()
        path = self.path(media_id, media.media_type)
        with _full_disk_refused():
            with self._lock:
                if path.exists() and path.stat().st_size == len(media.data):
                    _touch(path)
                    return media_id
            self._make_folders(path.parent)
            self._write_new(path, media.data)
        return media_id

    def write_thumbnail(self, media_id: str, media_type: str, width: int, data: bytes) -> int:
        """Returns the bytes of the image and all its thumbnails.

        Raises: StorageFull; FileNotFoundError: the image is gone.
        """
        original = self.path(media_id, media_type)
        with _full_disk_refused():
            self._write_new(self.thumbnail_path(media_id, width), data)
        return original.stat().st_size + sum(path.stat().st_size for path in _thumbnails_of(original))

    def _write_new(self, path: Path, data: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self._lock:
                os.replace(name, path)
                _touch(path)
            fsync_path(path.parent)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise

    def _make_folders(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folders(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(FOLDER_MODE)
        fsync_path(folder.parent)

    def read_file(self, media_id: str, media_type: str) -> bytes | None:
        try:
            return self.path(media_id, media_type).read_bytes()
        except FileNotFoundError:
            return None

    def open_file(self, media_id: str, media_type: str) -> BinaryIO | None:
        try:
            return cast(BinaryIO, self.path(media_id, media_type).open("rb", buffering=0))
        except FileNotFoundError:
            return None

    def open_thumbnail(self, media_id: str, width: int) -> BinaryIO | None:
        try:
            return cast(BinaryIO, self.thumbnail_path(media_id, width).open("rb", buffering=0))
        except FileNotFoundError:
            return None

    def remove_thumbnail(self, media_id: str, width: int) -> None:
        self.thumbnail_path(media_id, width).unlink(missing_ok=True)

    def remove_file(self, path: Path, older_than: float) -> int | None:
        """Delete a file and its thumbnails; returns the bytes freed, None if it was written since `older_than` (epoch
        seconds) or is gone."""
        with self._lock, suppress(FileNotFoundError):
            found = path.stat()
            if found.st_mtime < older_than:
                path.unlink()
                return found.st_size + sum(_remove(thumbnail) for thumbnail in _thumbnails_of(path))
        return None

    def files_written_before(self, before: float) -> Iterator[Path]:
        """All files, including temporary ones, that were not written since (epoch seconds)."""
        for path in self._folder.glob("??/??/*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    yield path


@contextmanager
def _full_disk_refused() -> Iterator[None]:
    """Raises: StorageFull instead of the system's errors."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull() from error
        raise


def _thumbnails_of(path: Path) -> list[Path]:
    """None, of what is no image itself."""
    return list(path.parent.glob(f"{path.stem}.w*.webp")) if is_media_id(path.stem) else []


def _remove(path: Path) -> int:
    """Returns the bytes freed."""
    with suppress(FileNotFoundError):
        size = path.stat().st_size
        path.unlink()
        return size
    return 0


def _touch(path: Path) -> None:
    """Set the modification time from the clock that the sweep uses: the kernel's timestamps lag by milliseconds."""
    now = time.time()
    os.utime(path, (now, now))
