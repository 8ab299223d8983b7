"""One-shot commands, one for each entry of `bot.commands.COMMANDS`: submit, wait, print the result."""

import asyncio
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.cli.error_output import FAILED, BadInput, Failure
from adapters.cli.image_arguments import ImageArgument, find_images
from adapters.cli.image_files import OutputTarget, resolve_target, save_image
from adapters.cli.output import print_json, print_line, print_note, program_name
from bot.commands import Command, Grid
from bot.error_texts import DEMO_HINT
from bot.errors import EaselError, InvalidOption
from bot.options import find_spec
from bot.prompts.combinations import expand_combinations

if TYPE_CHECKING:
    from adapters.cli.client.types import JobClient, JobRequest
    from adapters.cli.ports import CompositionRoot, LoadedConfig
    from adapters.cli.views import JobBody

CANCEL_WAIT_S = 15.0
"""How long an interrupted command waits for its jobs to stop."""


@dataclass(frozen=True, kw_only=True)
class ParsedRequest:
    """The typed command line, validated as far as possible without the models.

    Attributes:
        options: validated values.
        is_confirmed: several prompt combinations need no confirmation.
    """

    command_class: type[Command]
    options: dict[str, Any]
    images: tuple[ImageArgument, ...]
    target: OutputTarget
    as_json: bool
    is_confirmed: bool


def parse_request(
    command_class: type[Command],
    typed: dict[str, list[str]],
    images: tuple[ImageArgument, ...],
    *,
    out: str | None,
    as_json: bool,
    is_confirmed: bool,
) -> ParsedRequest:
    """Raises: InvalidOption, BadInput."""
    try:
        for name, values in typed.items():
            if len(values) > 1:
                raise InvalidOption(name, "twice")
        options = {name: values[0] for name, values in typed.items()}
        command = command_class.from_options(options, [image.ref for image in images])
    except InvalidOption as error:
        error.option = _typed_name(command_class, error.option)
        raise
    return ParsedRequest(
        command_class=command_class,
        options=dict(command.values),
        images=images,
        target=resolve_target(out),
        as_json=as_json,
        is_confirmed=is_confirmed,
    )


def _typed_name(command_class: type[Command], name: str) -> str:
    """`--guidance-scale` for `guidance_scale`; a positional argument keeps its name."""
    with suppress(InvalidOption):
        spec = find_spec(command_class.specs, name)
        return spec.name if spec.is_main else f"--{spec.name.replace('_', '-')}"
    return name


async def run_jobs(
    composition: "CompositionRoot", loaded: "LoadedConfig", parsed: ParsedRequest, files: Mapping[str, bytes]
) -> int:
    """Submit the jobs, follow them and print their results; returns the exit code. An interruption cancels them.

    `files`: the input images that are no pictures of jobs, by their names.
    """
    from adapters.cli.client.open import open_job_client

    async with open_job_client(composition, loaded) as client:
        jobs = await make_jobs(client, parsed, files)
        return await ResultPrinter(client, parsed.target, parsed.as_json).print_results(jobs)


async def make_jobs(client: "JobClient", parsed: ParsedRequest, files: Mapping[str, bytes]) -> "list[JobBody]":
    """Submit the jobs and follow them to their end. An interruption cancels them.

    `files`: see `run_jobs`. Raises: BadInput.
    """
    from adapters.cli.client.types import JobRequest

    images = await find_images(client, parsed.images, files)
    request = JobRequest(command=parsed.command_class.name, options=parsed.options, images=images)
    ids: list[str] = []
    try:
        await submit_jobs(client, request, ids, await confirm_price(client, request, parsed))
        return await follow_jobs(client, ids)
    except asyncio.CancelledError:
        await cancel_jobs(client, ids)
        raise


async def confirm_price(client: "JobClient", request: "JobRequest", parsed: ParsedRequest) -> str | None:
    """The quote token for a grid or a prompt with several combinations, once the person has confirmed it.

    Raises: BadInput.
    """
    is_grid = parsed.command_class is Grid
    if not is_grid and len(expand_combinations(str(parsed.options.get("prompt", "")))) < 2:
        return None
    quote = await client.quote_price(request)
    if quote.jobs == 1:
        return quote.token
    duration = f", about {quote.eta_s:.0f} s" if quote.eta_s is not None else ""
    subject, parts = ("The grid", "cells") if is_grid else ("The prompt", "combinations")
    summary = f"{subject} has {quote.jobs} {parts}{duration}."
    if parsed.is_confirmed:
        print_note(summary)
        return quote.token
    if not sys.stdin.isatty():
        raise BadInput(f"{summary} Add --yes to generate them all.")
    if (await _ask_terminal(f"{summary} Generate them all? [y/N] ")).strip().casefold() not in ("y", "yes"):
        raise Failure("No job was submitted.", code="declined")
    return quote.token


async def _ask_terminal(question: str) -> str:
    """Ask a question and read a line in a daemon thread, so that Ctrl-C interrupts it."""
    sys.stderr.write(question)
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def set_answer(line: str) -> None:
        if not answer.done():
            answer.set_result(line)

    def read_line() -> None:
        line = sys.stdin.readline()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(set_answer, line)

    threading.Thread(target=read_line, daemon=True).start()
    return await answer


async def _follow_job(client: "JobClient", job_id: str, number: int, total: int) -> "JobBody":
    from adapters.cli.progress import JobProgressLine

    job: JobBody = {}
    with JobProgressLine(prefix=f"{number}/{total}: " if total > 1 else "") as progress:
        async for job in client.follow_job(job_id):
            progress.show_job(job)
    return job


async def follow_jobs(client: "JobClient", ids: list[str]) -> "list[JobBody]":
    """The jobs once they have ended, with a line of progress."""
    return [await _follow_job(client, job_id, number, len(ids)) for number, job_id in enumerate(ids, 1)]


async def submit_jobs(client: "JobClient", request: "JobRequest", ids: list[str], quote: str | None = None) -> None:
    """Submit the jobs and add their ids to `ids`. An interruption waits for the ids, so that the jobs can be
    cancelled."""
    submitting = asyncio.ensure_future(client.submit_jobs(request, quote))
    try:
        await asyncio.shield(submitting)
    finally:
        with suppress(EaselError):
            ids += await submitting


async def cancel_jobs(client: "JobClient", ids: list[str]) -> None:
    """Best effort: a job that can no longer be cancelled is finished and kept in the history."""
    if not ids:
        return
    print_note("Cancelling ...")
    with suppress(Exception):
        async with asyncio.timeout(CANCEL_WAIT_S):
            for job_id in reversed(ids):  # the last first: none of them begins meanwhile
                with suppress(Exception):
                    await client.cancel_job(job_id)
            for job_id in ids:
                async for _ in client.follow_job(job_id):
                    pass


def require_result(job: "JobBody") -> None:
    """Raises: Failure: the job has no result."""
    from adapters.cli.views import DONE

    if job["state"] not in DONE or job["result"] is None:
        error = job["error"] or {"code": "failed", "message": f"The job ended: {job['state']}."}
        incident = error.get("incident") or ""
        hint = f" Run `{program_name()} doctor` to find the cause; the log has the details." if incident else ""
        raise Failure(error["message"] + hint, code=error["code"], incident=incident)


async def save_images(
    client: "JobClient", target: OutputTarget, job: "JobBody", written: list[str], *, is_numbered: bool, offset: int
) -> None:
    """Write the job's images and add their paths to `written`. `offset`: how many came before, for a file name that
    is numbered. Raises: Failure."""
    for number, media in enumerate(job["result"]["media"], 1):
        if media is None:  # deleted
            continue
        file_number = number + offset if target.name else number
        path = target.image_path(job["id"], file_number, is_numbered, media["media_type"])
        data = await client.read_image(media["id"])
        written.append(str(await asyncio.to_thread(save_image, path, data, job["id"])))


@dataclass(frozen=True)
class ResultPrinter:
    """Prints results: texts, or the paths of the written files, or everything as JSON."""

    client: "JobClient"
    target: OutputTarget
    as_json: bool

    async def print_results(self, jobs: list["JobBody"]) -> int:
        """Print all results; the exit code is not 0 if any job or file failed."""
        files: list[list[str]] = []
        failures: list[Failure] = []
        is_numbered = len(jobs) > 1 or any(len((job["result"] or {}).get("media", ())) > 1 for job in jobs)
        for job in jobs:
            written: list[str] = []
            try:
                require_result(job)
                offset = sum(map(len, files))
                await save_images(self.client, self.target, job, written, is_numbered=is_numbered, offset=offset)
                self._print_result(job, written)
            except Failure as error:
                failures.append(error)
                self._print_paths(written)
                print_note(f"easel: {error.sentence}")
            files.append(written)
        if self.as_json:
            self._print_json(jobs, files, failures)
        return FAILED if failures else 0

    def _print_result(self, job: "JobBody", written: list[str]) -> None:
        for note in job["result"]["notes"]:
            if written or note != DEMO_HINT:  # once with the images, not under each answer
                print_note(note)
        if not written and not self.as_json:
            print_line(job["result"]["text"] or "")
        self._print_paths(written)

    def _print_paths(self, written: list[str]) -> None:
        if not self.as_json:
            for path in written:
                print_line(path)

    def _print_json(self, jobs: list["JobBody"], files: list[list[str]], failures: list[Failure]) -> None:
        bodies = [{**job, "files": written} for job, written in zip(jobs, files, strict=True)]
        if len(bodies) == 1:
            body = bodies[0]
        else:
            body = {"batch": jobs[0]["batch"], "jobs": bodies, "files": [one for some in files for one in some]}
        if failures and not body.get("error"):
            body["error"] = {"code": failures[0].code, "message": failures[0].sentence, "incident": None}
        print_json(body)
