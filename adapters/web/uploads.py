"""Receives uploads with bounded memory: few per person at a time, on disk until they are decoded."""

import errno
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from adapters.http_server.connections import group_address
from adapters.web.bodies import read_limited
from adapters.web.problems import RequestRefused
from adapters.web.settings import WebSettings
from bot.errors import InvalidOption, StorageFull, TooLarge
from bot.ports.images import is_heic
from bot.runtime.fair_slots import FairSlots

MULTIPART_EXTRA = 64 * 1024
"""Boundaries, headers and small fields around a file."""
MEMORY_BYTES = 256 * 1024
"""Memory of one upload while it is received; the rest goes to disk."""
_MAX_START = 256
"""Bytes that identify a file's format."""
_MAX_FIELDS = 60
"""Fields of a form beside its files."""
DECODED_PER_PERSON, DECODED_IN_ALL = 2, 8
"""Numbers of uploads that are in memory as a whole, because they are decoded or wait for it."""


class UploadSlots:
    """Counts the concurrent uploads per person, per address and in total."""

    def __init__(self, *, in_all: int, per_person: int) -> None:
        self._in_all = in_all
        self._per_person = per_person
        self._counts: Counter[str] = Counter()
        self._total = 0

    @contextmanager
    def hold(self, *names: str) -> Iterator[None]:
        """Raises: RequestRefused: too many uploads of one of the names, or of all."""
        if self._total >= self._in_all or any(self._counts[name] >= self._per_person for name in names):
            raise RequestRefused(
                "too_many_requests", "Too many uploads are under way. Try again when one has ended.", retry_after_s=2
            )
        self._counts.update(names)
        self._total += 1
        try:
            yield
        finally:
            self._total -= 1
            self._counts.subtract(names)
            self._counts = +self._counts


class UploadReceiver:
    """`folder` is on the disk of the data directory: a temporary directory may be in memory. `max_heic_bytes`: of files
    that begin as HEIC."""

    def __init__(self, settings: WebSettings, folder: Path, max_bytes: int, max_heic_bytes: int = 0) -> None:
        self._slots = UploadSlots(in_all=settings.max_uploads, per_person=settings.max_uploads_per_person)
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_heic_bytes = max(max_bytes, max_heic_bytes)
        self._decoding = FairSlots(DECODED_IN_ALL, per_owner=DECODED_PER_PERSON)

    @asynccontextmanager
    async def receive(self, request: Request, person_id: str) -> AsyncIterator[bytes]:
        """The multipart field `file`, once it may be decoded.

        Raises: TooLarge, as soon as it exceeds the limit; InvalidOption, StorageFull, RequestRefused.
        """
        with self.receiving(request, person_id):
            file = await self._spool_file(request)
            try:
                async with self.decoding(person_id):
                    yield await file.read()
            finally:
                await file.close()

    @asynccontextmanager
    async def receive_form(self, request: Request, person_id: str, *, max_files: int) -> AsyncIterator[FormData]:
        """All fields of a multipart form; its files are on disk until the form is left.

        Raises: TooLarge, as soon as a file exceeds the limit; InvalidOption, StorageFull, RequestRefused.
        """
        expected = InvalidOption("body", "body", allowed="send multipart/form-data")
        with self.receiving(request, person_id):
            form = await self._spool_form(request, max_files, max_fields=_MAX_FIELDS, expected=expected)
            try:
                yield form
            finally:
                await form.close()

    @contextmanager
    def receiving(self, request: Request, person_id: str) -> Iterator[None]:
        """While a body with images is received. Raises: RequestRefused: there are too many."""
        address = group_address(request.client.host) if request.client else ""
        names = [f"person {person_id}"]
        if address and address not in ("127.0.0.1", "::1"):
            names.append(f"address {address}")
        with self._slots.hold(*names):
            yield

    def decoding(self, person_id: str) -> AbstractAsyncContextManager[None]:
        """While an image is in memory and decoded; waits for its turn."""
        return self._decoding.hold(person_id)

    async def _spool_file(self, request: Request) -> UploadFile:
        expected = InvalidOption("file", "body", allowed="send multipart/form-data with one image in the field file")
        form = await self._spool_form(request, 1, max_fields=4, expected=expected)
        unknown = next((name for name in form if name != "file"), None)
        file = form.get("file")
        if unknown is None and isinstance(file, UploadFile):
            return file
        await form.close()
        raise expected if unknown is None else InvalidOption(unknown[:40], "unknown", allowed="file")

    async def _spool_form(
        self, request: Request, max_files: int, *, max_fields: int, expected: InvalidOption
    ) -> FormData:
        limit, heic_limit = self._max_bytes / 2**20, self._max_heic_bytes / 2**20
        too_large = TooLarge(limit=limit, unit="MiB", heic_limit=heic_limit)
        if not request.headers.get("content-type", "").casefold().startswith("multipart/form-data"):
            raise expected
        stream = read_limited(request, max_files * self._max_heic_bytes + MULTIPART_EXTRA, too_large)
        parser = _SpoolingParser(
            request.headers, stream, max_files=max_files, max_fields=max_fields, max_part_size=MULTIPART_EXTRA
        )
        parser.folder = self._folder
        parser.limits = {False: self._max_bytes, True: self._max_heic_bytes}
        parser.too_large = too_large
        try:
            return await parser.parse()
        except (MultiPartException, KeyError, UnicodeDecodeError) as error:
            raise _exceeded_limit(error, max_files, max_fields) or expected from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull from error
            raise


def _exceeded_limit(error: Exception, max_files: int, max_fields: int) -> InvalidOption | None:
    """Which limit a form exceeds, by what its parser says; None: it is no form."""
    message = str(error)
    if message.startswith("Too many"):
        return InvalidOption("body", "body", allowed=f"it may have at most {max_files} files and {max_fields} fields")
    if "exceeded maximum size" in message:
        allowed = f"a field may have at most {MULTIPART_EXTRA // 1024} KiB; send images as files"
        return InvalidOption("body", "body", allowed=allowed)
    return None


class _SpoolingParser(MultiPartParser):
    """`limits`: bytes of a file, by whether it is HEIC."""

    spool_max_size = MEMORY_BYTES
    folder: Path
    limits: Mapping[bool, int]
    too_large: TooLarge
    _size = 0
    _start = b""

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is not None:
            file: Any = SpooledTemporaryFile(self.spool_max_size, dir=str(self.folder))  # noqa: SIM115 - closed with the form
            self._current_part.file.file.close()
            self._current_part.file.file = file
            self._files_to_close_on_error.append(file)
            self._size, self._start = 0, b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Raises: TooLarge, as soon as the file exceeds the limit of its kind."""
        super().on_part_data(data, start, end)
        if self._current_part.file is not None:
            self._size += end - start
            self._start += data[start : min(end, start + _MAX_START - len(self._start))]
            if self._size > self.limits[is_heic(self._start)]:
                raise self.too_large
