"""Runs the calls of tools.

A call waits for its jobs for a limited time, because programs give up on tools that take long: then it answers with
the ids, and the jobs go on. A call that is cancelled cancels its jobs, unless its connection ends: then nobody asked
for that, and they go on as well.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from mcp_types import CallToolResult

from adapters.mcp.tool_answers import JobAnswer, data_answer, is_finished, picture_uri, text_answer
from adapters.mcp.tool_backend import Body, OpenBackend, ToolBackend, ToolJobRequest
from adapters.mcp.tool_errors import ToolRefused, error_sentence
from adapters.mcp.tool_grids import grid_answer
from adapters.mcp.tool_images import ReadFile, find_images, parse_images
from adapters.mcp.tool_progress import ProgressReporter, Send
from adapters.mcp.tool_schemas import IMAGES, LOOK_UPS, MAX_LISTED, PARENT, QUOTE, is_available, look_up_tools
from bot.commands import COMMANDS, Command, find_command
from bot.errors import EaselError, InvalidOption, JobNotFound
from bot.options import clean_excerpt, find_nearest
from bot.prompts.combinations import expand_combinations

WAIT_S = 45.0
"""Programs often give up after 60 s."""
GRID = "grid"
MAX_QUERY = 200
LOOK_UP_ARGUMENTS = {tool["name"]: tuple(tool["inputSchema"]["properties"]) for tool in look_up_tools()}
HEARTBEAT_S = 10.0
"""Seconds between two notifications about a job that does not change: programs that see them wait longer."""
_JOB_ID = re.compile(r"[a-z2-7]{4,16}")


@dataclass(frozen=True, kw_only=True)
class ToolCalls:
    """`read_file`: reads images of this computer."""

    open_backend: OpenBackend
    wait_s: float = WAIT_S
    read_file: ReadFile | None = None
    _finishing: set["asyncio.Task[None]"] = field(default_factory=set)

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        send_progress: Send,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> CallToolResult:
        """Never raises but for a cancellation: what goes wrong is the answer, in one sentence.

        `is_ending`: whether the connection of the call ends.
        """
        try:
            async with self.open_backend() as backend:
                if name in LOOK_UPS:
                    return await self._look_up(backend, name, dict(arguments), ProgressReporter(send_progress))
                if name not in COMMANDS:
                    return text_answer(_unknown_tool(name), is_error=True)
                progress = ProgressReporter(send_progress)
                return await self._run_command(backend, name, dict(arguments), progress, is_ending)
        except Exception as error:
            return text_answer(error_sentence(error), is_error=True)

    async def finish(self) -> None:
        """Wait until the jobs of calls that were cancelled are stored, or cancelled as well."""
        while self._finishing:
            await asyncio.wait(set(self._finishing))

    # ------------------------------------------------------------ commands

    async def _run_command(
        self,
        backend: ToolBackend,
        name: str,
        arguments: dict[str, Any],
        progress: ProgressReporter,
        is_ending: Callable[[], bool],
    ) -> CallToolResult:
        request = await self._to_request(backend, find_command(name), arguments)
        if request.quote is None and _may_be_several(request):
            price = await backend.quote_price(request)
            if price["jobs"] > 1:
                return _ask_confirmation(price)
        submitting = asyncio.ensure_future(backend.submit_jobs(request))
        try:
            ids = await asyncio.shield(submitting)
            jobs = await self._wait(backend, ids, progress)
        except asyncio.CancelledError:
            self._finish_later(submitting, cancels=not is_ending())
            raise
        if name == GRID:
            return await grid_answer(backend, await backend.read_batch(jobs[0]["batch"]))
        return await JobAnswer(backend).of_jobs(jobs)

    async def _to_request(
        self, backend: ToolBackend, command: type[Command], arguments: dict[str, Any]
    ) -> ToolJobRequest:
        """Everything is checked before an image is stored. Raises: EaselError."""
        images = parse_images(command, arguments.pop(IMAGES, None))
        parent, quote = _pop_text(arguments, PARENT), _pop_text(arguments, QUOTE)
        if parent is not None and not _JOB_ID.fullmatch(parent):
            raise JobNotFound(clean_excerpt(parent, 20))
        if quote is not None and not quote.isascii():
            raise InvalidOption(QUOTE, "quote")
        parsed = command.from_options(arguments, [one.ref for one in images])
        found = await find_images(backend, images, self.read_file)
        return ToolJobRequest(
            command=command.name, options=dict(parsed.values), images=found, parent=parent, quote=quote
        )

    def _finish_later(self, submitting: "asyncio.Future[list[str]]", *, cancels: bool) -> None:
        """In a task of its own: the one of the call is being cancelled."""
        task = asyncio.create_task(self._finish(submitting, cancels))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, submitting: "asyncio.Future[list[str]]", cancels: bool) -> None:
        with suppress(Exception):
            async with self.open_backend() as backend:
                ids = await submitting
                for job_id in ids * cancels:
                    with suppress(EaselError):  # it has ended
                        await backend.cancel_job(job_id)

    async def _wait(self, backend: ToolBackend, ids: Sequence[str], progress: ProgressReporter) -> list[Body]:
        """The jobs when they have finished, or when the time is up."""
        latest: dict[str, Body] = {}

        async def follow(job_id: str) -> None:
            async with aclosing(cast("Any", backend.follow_job(job_id))) as bodies:
                async for body in bodies:
                    latest[job_id] = body
                    await progress.report(latest.values())

        tasks = {asyncio.create_task(follow(job_id)) for job_id in ids}
        deadline = asyncio.get_running_loop().time() + self.wait_s
        try:
            pending = tasks
            while pending and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
                done, pending = await asyncio.wait(pending, timeout=min(HEARTBEAT_S, left_s))
                for task in done:
                    task.result()
                if not done:
                    await progress.report(latest.values())
        finally:
            for task in tasks:
                task.cancel()
        return [latest[job_id] if job_id in latest else await backend.read_job(job_id) for job_id in ids]

    # ------------------------------------------------------------ jobs, models, quota

    async def _look_up(
        self, backend: ToolBackend, name: str, arguments: dict[str, Any], progress: ProgressReporter
    ) -> CallToolResult:
        if unknown := sorted(arguments.keys() - LOOK_UP_ARGUMENTS[name]):
            raise InvalidOption(unknown[0], "unknown", allowed=", ".join(LOOK_UP_ARGUMENTS[name]) or "none")
        match name:
            case "job":
                return await self._show_job(backend, arguments, progress)
            case "cancel":
                return await _cancel(backend, _job_id(arguments))
            case "history":
                return await _list_history(backend, arguments)
            case "list_models":
                return data_answer(await _describe_models(backend))
        return data_answer(await backend.get_quota())

    async def _show_job(
        self, backend: ToolBackend, arguments: dict[str, Any], progress: ProgressReporter
    ) -> CallToolResult:
        wait = arguments.get("wait", True)
        if not isinstance(wait, bool):
            raise InvalidOption("wait", "type", value=wait, allowed="yes or no")
        jobs, batch = await _find_jobs(backend, _job_id(arguments))
        open_ids = [job["id"] for job in jobs if not is_finished(job)]
        if wait and open_ids:
            waited = {job["id"]: job for job in await self._wait(backend, open_ids, progress)}
            jobs = [waited.get(job["id"], job) for job in jobs]
        if batch is not None and batch["kind"] == GRID:
            return await grid_answer(backend, await backend.read_batch(batch["batch"]))
        return await JobAnswer(backend).of_jobs(jobs)


def _unknown_tool(name: str) -> str:
    known = [*COMMANDS, *LOOK_UPS]
    near = find_nearest(name, known)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"There is no tool {clean_excerpt(name, 40)}.{hint} Tools: {', '.join(known)}."


def _pop_text(arguments: dict[str, Any], name: str) -> str | None:
    value = arguments.pop(name, None)
    if value is not None and not isinstance(value, str):
        raise InvalidOption(name, "type", value=value, allowed="text")
    return value or None


def _job_id(arguments: Mapping[str, Any]) -> str:
    job_id = arguments.get("id")
    if job_id is None:
        raise InvalidOption("id", "missing")
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id.strip().casefold()):
        raise JobNotFound(clean_excerpt(str(job_id), 20))
    return job_id.strip().casefold()


def _may_be_several(request: ToolJobRequest) -> bool:
    prompt = str(request.options.get("prompt", ""))
    return request.command == GRID or len(expand_combinations(prompt)) > 1


def _ask_confirmation(price: Body) -> CallToolResult:
    duration = f", about {price['eta_s']:.0f} s" if price["eta_s"] is not None else ""
    return text_answer(
        f"This has {price['jobs']} combinations{duration}. Nothing was submitted. To make all, repeat the call with "
        f"the same arguments and quote = {price['quote']}",
        is_error=True,
    )


async def _find_jobs(backend: ToolBackend, job_id: str) -> tuple[list[Body], Body | None]:
    """The job, or the jobs of the batch and the batch. Raises: EaselError."""
    try:
        return [await backend.read_job(job_id)], None
    except EaselError as error:
        if getattr(error, "code", "") != JobNotFound.code:
            raise
        try:
            batch = await backend.read_batch(job_id)
        except EaselError:
            raise error from None
        return batch["jobs"], batch


async def _cancel(backend: ToolBackend, job_id: str) -> CallToolResult:
    [job, *_], batch = await _find_jobs(backend, job_id)
    if batch is not None:
        await backend.cancel_batch(batch["batch"])
        return text_answer(f"The unfinished jobs of {batch['batch']} are cancelled and were not charged.")
    await backend.cancel_job(job["id"])
    return text_answer(f"Job {job['id']} is cancelled; nothing was charged.")


async def _list_history(backend: ToolBackend, arguments: Mapping[str, Any]) -> CallToolResult:
    query, before, limit = arguments.get("query", ""), arguments.get("before"), arguments.get("limit", 10)
    if not isinstance(query, str):
        raise InvalidOption("query", "type", value=query, allowed="text")
    if len(query) > MAX_QUERY:
        raise ToolRefused(f"query is too long: at most {MAX_QUERY} characters.")
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_LISTED:
        raise InvalidOption("limit", "range", value=limit, allowed=f"1 to {MAX_LISTED}")
    if before is not None and (not isinstance(before, str) or not _JOB_ID.fullmatch(before)):
        raise ToolRefused("before must be the `next` of an earlier answer.")
    jobs, following = await backend.list_jobs(query, before=before, limit=limit)
    return data_answer({"jobs": [_summary(job) for job in jobs], "next": following})


def _summary(job: Body) -> Body:
    result = job["result"] or {}
    media = result.get("media", ())
    words = {name: job["options"][name] for name in ("prompt", "question", "texts") if job["options"].get(name)}
    return {
        **{name: job[name] for name in ("id", "command", "state", "created_at")},
        **words,
        "answer": result.get("text"),
        "images": [picture_uri(job["id"], number) for number, one in enumerate(media, 1) if one is not None],
        "error": (job["error"] or {}).get("message"),
    }


async def _describe_models(backend: ToolBackend) -> Body:
    models = await backend.list_models()
    shown = ("name", "commands", "default_for", "loaded", "note", "max_images", "options")
    unavailable = [command["name"] for command in await backend.list_commands() if not is_available(command)]
    return {"models": [{name: one[name] for name in shown} for one in models], "unavailable_commands": unavailable}
