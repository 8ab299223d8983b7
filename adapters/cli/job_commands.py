"""One-shot commands: ask, wait, print. One for each entry of `bot.commands.COMMANDS`, with its own options."""

import asyncio
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.cli.error_output import FAILED, BadInput, Failure
from adapters.cli.image_files import Target, find_target, read_picture, save
from adapters.cli.output import note, program, tell, tell_json
from bot.commands import Command
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.options import find_spec
from bot.prompts.combinations import combinations

if TYPE_CHECKING:
    from adapters.cli.client.types import Caller, Order
    from adapters.cli.ports import Composition, Loaded
    from adapters.cli.views import JobBody

CANCEL_WAIT_S = 15.0
"""How long an interrupted command waits for its job to stop."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the person typed, checked as far as that goes without the house.

    Attributes:
        options: checked values.
        pictures: files of the pictures it is about.
        has_mask: the last of them is the mask.
        yes: several combinations need no confirmation.
    """

    kind: type[Command]
    options: dict[str, Any]
    pictures: tuple[str, ...]
    has_mask: bool
    target: Target
    as_json: bool
    yes: bool

    @property
    def roles(self) -> list[str]:
        """Of each picture; what the command makes of it when empty."""
        last = len(self.pictures) if self.has_mask else 0
        return ["mask" if number == last else "" for number in range(1, len(self.pictures) + 1)]


def read_asked(
    kind: type[Command],
    typed: dict[str, list[str]],
    pictures: tuple[str, ...],
    *,
    mask: str = "",
    out: str | None,
    as_json: bool,
    yes: bool,
) -> Asked:
    """Raises: InvalidOption, BadInput."""
    try:
        for name, values in typed.items():
            if len(values) > 1:
                raise InvalidOption(name, "twice")
        refs = [ImageRef("")] * len(pictures) + [ImageRef("", "mask")] * bool(mask)
        command = kind.from_options({name: values[0] for name, values in typed.items()}, refs)
    except InvalidOption as error:
        error.option = _as_typed(kind, error.option)
        raise
    return Asked(
        kind=kind,
        options=dict(command.values),
        pictures=(*pictures, *filter(None, [mask])),
        has_mask=bool(mask),
        target=find_target(out),
        as_json=as_json,
        yes=yes,
    )


def _as_typed(kind: type[Command], name: str) -> str:
    """`--guidance-scale` for `guidance_scale`; what stands without a flag keeps its name."""
    with suppress(InvalidOption):
        spec = find_spec(kind.specs, name)
        return spec.name if spec.is_main else f"--{spec.name.replace('_', '-')}"
    return name


def read_pictures(asked: Asked, loaded: "Loaded") -> list[bytes]:
    """Outside the event loop, where Ctrl-C still ends a wait for stdin.

    Raises: BadInput, TooLarge, UnsupportedMedia.
    """
    most = loaded.settings["images"].max_upload_mb
    return [read_picture(name, most) for name in asked.pictures]


async def ask(composition: "Composition", loaded: "Loaded", asked: Asked, pictures: list[bytes]) -> int:
    """Hand in, follow, print; the exit code. An interruption cancels the jobs."""
    from adapters.cli.client.open import open_caller
    from adapters.cli.client.types import Order

    async with open_caller(composition, loaded) as caller:
        images = [await caller.upload(data) for data in pictures]
        order = Order(
            command=asked.kind.name, options=asked.options, images=tuple(zip(images, asked.roles, strict=True))
        )
        ids = await caller.submit(order, await _confirm(caller, order, asked))
        try:
            jobs = [await _follow(caller, job_id, number, len(ids)) for number, job_id in enumerate(ids, 1)]
        except asyncio.CancelledError:
            await _cancel(caller, ids)
            raise
        return await Answer(caller, asked.target, asked.as_json).give(jobs)


async def _confirm(caller: "Caller", order: "Order", asked: Asked) -> str | None:
    """The quote of a prompt that stands for several, once the person has agreed. Raises: BadInput."""
    if len(combinations(str(asked.options.get("prompt", "")))) < 2:
        return None
    quoted = await caller.quote(order)
    takes = f", about {quoted.eta_s:.0f} s" if quoted.eta_s is not None else ""
    what = f"The prompt stands for {quoted.jobs} combinations{takes}."
    if asked.yes:
        note(what)
        return quoted.quote
    if not sys.stdin.isatty():
        raise BadInput(f"{what} Add --yes to make them all.")
    if (await _type(f"{what} Make them all? [y/N] ")).strip().casefold() not in ("y", "yes"):
        raise Failure("Nothing was asked for.", code="declined")
    return quoted.quote


async def _type(question: str) -> str:
    """What the person types. Read by a thread that nobody waits for, so that Ctrl-C ends the question."""
    sys.stderr.write(question)
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def take(line: str) -> None:
        if not answer.done():
            answer.set_result(line)

    def read() -> None:
        line = sys.stdin.readline()
        with suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(take, line)

    threading.Thread(target=read, daemon=True).start()
    return await answer


async def _follow(caller: "Caller", job_id: str, number: int, total: int) -> "JobBody":
    from adapters.cli.progress import Progress

    job: JobBody = {}
    with Progress(prefix=f"{number}/{total}: " if total > 1 else "") as progress:
        async for job in caller.follow(job_id):
            progress.show_job(job)
    return job


async def _cancel(caller: "Caller", ids: list[str]) -> None:
    """Best effort: what cannot be cancelled any more is finished and found in history."""
    note("Cancelling ...")
    with suppress(Exception):
        async with asyncio.timeout(CANCEL_WAIT_S):
            for job_id in ids:
                with suppress(Exception):
                    await caller.cancel(job_id)
            for job_id in ids:
                async for _ in caller.follow(job_id):
                    pass


@dataclass(frozen=True)
class Answer:
    """Prints what came out: text, or the files it was written to, or all of it as JSON."""

    caller: "Caller"
    target: Target
    as_json: bool

    async def give(self, jobs: list["JobBody"]) -> int:
        """The exit code: not 0 when any job or file failed."""
        files: list[list[str]] = []
        failed: list[Failure] = []
        numbered = len(jobs) > 1 or any(len((job["result"] or {}).get("media", ())) > 1 for job in jobs)
        for job in jobs:
            written: list[str] = []
            try:
                self._check(job)
                await self._write(job, written, numbered=numbered, before=sum(map(len, files)))
                self._tell(job, written)
            except Failure as error:
                failed.append(error)
                self._tell_files(written)
                note(f"easel: {error.sentence}")
            files.append(written)
        if self.as_json:
            self._tell_json(jobs, files, failed)
        return FAILED if failed else 0

    def _check(self, job: "JobBody") -> None:
        from adapters.cli.views import DONE

        if job["state"] not in DONE or job["result"] is None:
            error = job["error"] or {"code": "failed", "message": f"The job ended: {job['state']}."}
            incident = error.get("incident") or ""
            hint = f" `{program()} doctor` looks for the cause; the log has the rest." if incident else ""
            raise Failure(error["message"] + hint, code=error["code"], incident=incident)

    async def _write(self, job: "JobBody", written: list[str], *, numbered: bool, before: int) -> None:
        for number, media in enumerate(job["result"]["media"], 1):
            shown = number + before if self.target.name else number
            path = self.target.path(job["id"], shown, numbered, media["media_type"])
            data = await self.caller.picture(media["id"])
            written.append(str(await asyncio.to_thread(save, path, data, job["id"])))

    def _tell(self, job: "JobBody", written: list[str]) -> None:
        for hint in job["result"]["notes"]:
            note(hint)
        if not written and not self.as_json:
            tell(job["result"]["text"] or "")
        self._tell_files(written)

    def _tell_files(self, written: list[str]) -> None:
        if not self.as_json:
            for path in written:
                tell(path)

    def _tell_json(self, jobs: list["JobBody"], files: list[list[str]], failed: list[Failure]) -> None:
        bodies = [{**job, "files": written} for job, written in zip(jobs, files, strict=True)]
        if len(bodies) == 1:
            body = bodies[0]
        else:
            body = {"batch": jobs[0]["batch"], "jobs": bodies, "files": [one for some in files for one in some]}
        if failed and not body.get("error"):
            body["error"] = {"code": failed[0].code, "message": failed[0].sentence, "incident": None}
        tell_json(body)


async def fetch(composition: "Composition", loaded: "Loaded", job_id: str, out: str | None, as_json: bool) -> int:
    """Print again what a job made."""
    from adapters.cli.client.open import open_caller
    from adapters.cli.views import FINAL

    target = find_target(out)
    async with open_caller(composition, loaded) as caller:
        job = await caller.job(job_id)
        if job["state"] not in FINAL:
            raise Failure(f"Job {job['id']} is {job['state']}: try again when it is done.", code="not_finished")
        return await Answer(caller, target, as_json).give([job])
