"""One command for several images: a job each, all of them together, so that they share forward passes.

The results are printed in the order of the files, as soon as they are there. A file that fails stops no other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from adapters.cli.error_output import BAD_USAGE, FAILED, error_sentences, is_bad_input
from adapters.cli.file_arguments import InputFile
from adapters.cli.image_files import STDIN, read_image_file
from adapters.cli.job_commands import ParsedRequest, cancel_jobs, require_result, save_images, submit_jobs
from adapters.cli.output import print_json, print_line, print_note, printable
from adapters.cli.progress import ProgressLine, format_job_progress
from adapters.cli.sidecars import write_sidecar
from bot.error_texts import DEMO_HINT
from bot.errors import EaselError
from bot.jobs import ImageRef

if TYPE_CHECKING:
    from adapters.cli.client.types import JobClient, JobRequest
    from adapters.cli.ports import CompositionRoot, LoadedConfig
    from adapters.cli.views import JobBody
    from bot.settings.core import ImagesSettings

Result = TypeVar("Result")

MAX_UNFINISHED = 24
"""Jobs at a time: more than a device runs together, and fewer than `queue.max_outstanding`."""
MAX_STARTED = 4 * MAX_UNFINISHED
"""Files at a time, with those whose results wait for an earlier one: of any number of files, few are in memory."""


@dataclass(frozen=True)
class FileOutcome:
    """The finished job of an input image, or why there is none."""

    name: str
    job: "JobBody | None" = None
    error: EaselError | None = None


async def run_file_jobs(
    composition: "CompositionRoot",
    loaded: "LoadedConfig",
    parsed: ParsedRequest,
    files: Sequence[InputFile],
    *,
    sidecars: bool = False,
) -> int:
    """Returns the exit code: 0 if every file has its result. An interruption cancels the jobs. Raises: BadInput.

    `sidecars`: each text is also written into a file beside its image.
    """
    from adapters.cli.client.open import open_job_client

    parsed.target.require_free_names(len(files))
    limits = loaded.settings["images"]
    async with open_job_client(composition, loaded) as client:
        with ProgressLine() as progress:
            jobs = FileJobs(client, parsed, limits, progress, total=len(files), sidecars=sidecars)
            return await jobs.run(files)


@dataclass
class FileJobs:
    """`_open` are the unfinished jobs, in the order in which they were submitted. `_refusal`: the quota is used up, and
    no further file is tried."""

    client: "JobClient"
    parsed: ParsedRequest
    limits: "ImagesSettings"
    progress: ProgressLine
    total: int
    sidecars: bool = False
    _open: "dict[str, JobBody]" = field(default_factory=dict)
    _done: int = 0
    _refusal: EaselError | None = None
    _window: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_UNFINISHED))
    _upload: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, files: Sequence[InputFile]) -> int:
        printer = FilePrinter(self.client, self.parsed, self.sidecars)
        try:
            async with asyncio.TaskGroup() as group:
                started: deque[asyncio.Task[FileOutcome]] = deque()
                for file in files:
                    started.append(group.create_task(self._run_file(file)))
                    if len(started) == MAX_STARTED:
                        await self._print_next(printer, started)
                while started:
                    await self._print_next(printer, started)
            printer.print_untried()
        except BaseException:  # an interruption, or the reader closed the pipe
            await cancel_jobs(self.client, list(self._open))
            raise
        return printer.exit_code

    async def _print_next(self, printer: "FilePrinter", started: "deque[asyncio.Task[FileOutcome]]") -> None:
        finished = await started.popleft()
        self.progress.clear()
        await printer.print_outcome(finished)

    async def _run_file(self, file: InputFile) -> FileOutcome:
        from adapters.cli.views import FINAL

        job: JobBody = {}
        job_id = ""
        async with self._window:
            try:
                job_id = await self._submit(file)
                async for job in self.client.follow_job(job_id):
                    self._open[job_id] = job
                    self._show_progress()
            except EaselError as error:
                job = {}
                self._open.pop(job_id, None)
                return FileOutcome(file.name, error=error)
            finally:
                self._done += 1
                if job.get("state") in FINAL:
                    del self._open[job_id]
                self._ended.set()
        return FileOutcome(file.name, job)

    async def _submit(self, file: InputFile) -> str:
        """One after another: at most one file is in memory, and the jobs are in the order of the files."""
        from adapters.cli.client.types import JobRequest

        if file.error is not None:
            raise file.error
        async with self._upload:
            if self._refusal is not None:
                raise self._refusal
            data = file.data
            if data is None:
                max_mb, max_heic_mb = self.limits.max_upload_mb, self.limits.max_heic_mb
                data = await asyncio.to_thread(read_image_file, file.name, max_mb, max_heic_mb)
            image = await self._retry_later("server_gone", lambda: self.client.upload_image(data))
            name, options = self.parsed.command_class.name, self.parsed.options
            request = JobRequest(
                command=name, options=options, images=(ImageRef(image, self.parsed.images[0].flag.role),)
            )
            return await self._retry_later("queue_full", lambda: self._submit_job(request))

    async def _retry_later(self, code: str, call: Callable[[], Awaitable[Result]]) -> Result:
        """Call it again whenever another job has ended, for as long as it fails with this code."""
        while True:
            self._ended.clear()
            try:
                return await call()
            except EaselError as error:
                if error.code != code or not self._open:
                    raise
            await self._ended.wait()

    async def _submit_job(self, request: "JobRequest") -> str:
        ids: list[str] = []
        try:
            await submit_jobs(self.client, request, ids)
        except EaselError as error:
            self._refusal = error if error.code == "quota_exceeded" else None
            raise
        finally:
            self._open |= {job_id: {} for job_id in ids}
        return ids[0]

    def _show_progress(self) -> None:
        first = next((job for job in self._open.values() if job and job["state"] in ("queued", "running")), None)
        if first is not None:
            self.progress.show(f"{self._done} of {self.total} done. {format_job_progress(first)}", kind="files")


@dataclass
class FilePrinter:
    """Prints one result for each file: as JSON one object a line, else every line with the file's name."""

    client: "JobClient"
    parsed: ParsedRequest
    sidecars: bool = False
    _errors: list[EaselError] = field(default_factory=list)
    _files: int = 0
    _images: int = 0
    _untried: int = 0
    _notes: set[str] = field(default_factory=set)

    @property
    def exit_code(self) -> int:
        """2 if there is no file that could be tried."""
        if self._errors and len(self._errors) == self._files and all(map(is_bad_input, self._errors)):
            return BAD_USAGE
        return FAILED if self._errors else 0

    async def print_outcome(self, outcome: FileOutcome) -> None:
        written: list[str] = []
        failure: EaselError | None = None
        try:
            await self._require_files(outcome, written)
        except EaselError as error:
            failure = error
            if any(error is other for other in self._errors):  # the refusal of an earlier file
                self._untried += 1
            else:
                self._print_failure(outcome.name, error)
            self._errors.append(error)
        self._files += 1
        self._images += max(1, len(_media_of(outcome)))
        if self.parsed.as_json:
            print_json(_to_json(outcome, written, failure))
        else:
            self._print_text(outcome, written)

    def print_untried(self) -> None:
        if self._untried:
            files = "1 more file was" if self._untried == 1 else f"{self._untried} more files were"
            print_note(f"easel: {files} not tried.")

    async def _require_files(self, outcome: FileOutcome, written: list[str]) -> None:
        if outcome.job is None:
            assert outcome.error is not None
            raise outcome.error
        require_result(outcome.job)
        if self.sidecars:
            text = outcome.job["result"]["text"] or ""
            written.append(str(await asyncio.to_thread(write_sidecar, outcome.name, text)))
            return
        await save_images(self.client, self.parsed.target, outcome.job, written, is_numbered=True, offset=self._images)

    def _print_failure(self, name: str, error: EaselError) -> None:
        sentence = " ".join(error_sentences(error, getattr(error, "incident", "")))
        label = "standard input" if name == STDIN else printable(name)
        print_note(f"easel: {sentence}" if sentence.startswith(label) else f"easel: {label}: {sentence}")

    def _print_text(self, outcome: FileOutcome, written: list[str]) -> None:
        result = (outcome.job or {}).get("result") or {}
        for note in result.get("notes", ()):
            if note not in self._notes and (written or note != DEMO_HINT):
                print_note(note)
                self._notes.add(note)
        texts = (result.get("text") or "").splitlines()
        for line in texts or written:
            print_line(f"{printable(outcome.name)}: {line}" if texts else line)


def _media_of(outcome: FileOutcome) -> "Sequence[JobBody]":
    return ((outcome.job or {}).get("result") or {}).get("media", ())


def _to_json(outcome: FileOutcome, written: list[str], failure: EaselError | None) -> dict[str, Any]:
    body = {"input": outcome.name, **(outcome.job or {"result": None, "error": None}), "files": written}
    if failure is not None and not body.get("error"):
        message = " ".join(error_sentences(failure))
        body["error"] = {"code": failure.code, "message": message, "incident": getattr(failure, "incident", "") or None}
    return body
