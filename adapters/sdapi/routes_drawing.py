"""`txt2img`, `img2img`, and what their callers ask meanwhile: `progress`, `interrupt` and `skip`."""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from starlette.routing import Route

from adapters.sdapi.answers import drawing_answer, read_pictures
from adapters.sdapi.call import Endpoints, SdCall
from adapters.sdapi.generation import Drawing, plan_img2img, plan_txt2img, refit, to_requests
from adapters.sdapi.image_fields import encode_image
from adapters.sdapi.running import RunningCall
from adapters.sdapi.xyz_plot import as_plot, draw_plot, read_plot
from adapters.web.client_calls import JobFailed
from bot.errors import EaselError, JobNotFound
from bot.jobs import Job, JobState
from bot.usecases import Request, Ticket

MAX_INPUTS = 4
"""Images of the largest size that fit into a body; there may be more that are smaller."""

Plan = Callable[[SdCall], Awaitable[Drawing]]


def list_routes(endpoints: Endpoints) -> list[Route]:
    return [
        endpoints.post("/v1/txt2img", lambda call: _draw(call, plan_txt2img), images=MAX_INPUTS),
        endpoints.post("/v1/img2img", lambda call: _draw(call, plan_img2img), images=MAX_INPUTS),
        endpoints.get("/v1/progress", get_progress),
        endpoints.post("/v1/interrupt", interrupt, images=None),
        endpoints.post("/v1/skip", skip, images=None),
        endpoints.get("/v1/status", get_status),
    ]


async def _draw(call: SdCall, plan: Plan) -> dict[str, Any]:
    plot = read_plot(call, from_image=plan is plan_img2img)
    if plot is not None:
        [request] = await to_requests(as_plot(call, await plan(call), plot), call)
        return await draw_plot(call, request, plot)
    requests = await to_requests(await plan(call), call)
    jobs = await _run(call, requests)
    return drawing_answer(call, jobs, await read_pictures(call, jobs))


async def _run(call: SdCall, requests: Sequence[Request]) -> list[Job]:
    """What a model lacks is known once it was loaded: a request that failed because of that is fitted once more."""
    try:
        return await call.run(requests)
    except JobFailed as failed:
        if failed.code != "invalid_option":
            raise
        fitted = refit(requests, call)
        if [one.options for one in fitted] == [one.options for one in requests]:
            raise
        return await call.run(fitted)


# ---------------------------------------------------------------- progress


async def get_progress(call: SdCall) -> dict[str, Any]:
    """Of the caller's newest call; without one, clients read that the server is ready."""
    calls = call.running.list_calls(call.caller.key)
    if not calls:
        return _progress_answer(0.0, 0.0, _state(), None, None)
    newest = calls[-1]
    tickets = await _tickets_of(call, newest)
    if not tickets:
        return _progress_answer(0.0, 0.0, _state(), None, None)
    done = sum(ticket.job.state.is_final for ticket in tickets)
    current = next((ticket for ticket in tickets if not ticket.job.state.is_final), tickets[-1])
    progress = current.progress
    step, steps = (progress.step, progress.steps) if progress is not None else (0, 0)
    share = (done + (step / steps if steps else 0)) / len(tickets)
    preview = progress.preview if progress is not None else None
    with_preview = call.request.query_params.get("skip_current_image", "").casefold() not in ("true", "1")
    state = _state(newest, current, done=done, step=step, steps=steps)
    return _progress_answer(
        max(0.01, min(share, 1.0)),
        max((ticket.eta_s or 0.0 for ticket in tickets), default=0.0),
        state,
        encode_image(preview) if preview and with_preview else None,
        f"Waiting: position {current.position}" if current.position else None,
    )


async def _tickets_of(call: SdCall, running: RunningCall) -> list[Ticket]:
    """Without those of jobs that were erased meanwhile."""
    tickets = []
    for job_id in running.job_ids:
        with suppress(JobNotFound):
            tickets.append(await call.context.usecases.jobs.get_ticket(call.caller.person, job_id))
    return tickets


def _progress_answer(
    progress: float, eta_s: float, state: dict[str, Any], image: str | None, text: str | None
) -> dict[str, Any]:
    return {"progress": progress, "eta_relative": eta_s, "state": state, "current_image": image, "textinfo": text}


def _state(
    running: RunningCall | None = None, current: Ticket | None = None, *, done: int = 0, step: int = 0, steps: int = 0
) -> dict[str, Any]:
    started = current.job.created_at.strftime("%Y%m%d%H%M%S") if current is not None else "0"
    return {
        "skipped": running is not None and running.is_skipped,
        "interrupted": running is not None and running.is_interrupted,
        "stopping_generation": running is not None and running.is_interrupted,
        "job": current.job.id if current is not None else "",
        "job_count": len(running.job_ids) if running is not None else 0,
        "job_timestamp": started,
        "job_no": done,
        "sampling_step": step,
        "sampling_steps": steps,
    }


async def get_status(call: SdCall) -> dict[str, Any]:
    """SD.Next's short form of progress."""
    found = await get_progress(call)
    state = found["state"]
    return {
        "status": "running" if state["job_count"] else "idle",
        "task": "",
        "timestamp": state["job_timestamp"],
        "current": state["job"],
        "id": state["job"],
        "job": state["job_no"],
        "jobs": state["job_count"],
        "total": state["job_count"],
        "step": state["sampling_step"],
        "steps": state["sampling_steps"],
        "queued": max(0, len(call.running.list_calls(call.caller.key)) - 1),
        "uptime": int(time.monotonic()),
        "elapsed": None,
        "eta": found["eta_relative"] or None,
        "progress": found["progress"],
    }


# ---------------------------------------------------------------- interrupts


async def interrupt(call: SdCall) -> dict[str, Any]:
    """End all calls of the caller; each answers with the pictures that are finished."""
    for running in call.running.list_calls(call.caller.key):
        running.is_interrupted = True
        await _cancel(call, running.job_ids)
    return {}


async def skip(call: SdCall) -> dict[str, Any]:
    """End the job that runs now of each call of the caller: the next of its batches goes on."""
    for running in call.running.list_calls(call.caller.key):
        running.is_skipped = True
        tickets = await _tickets_of(call, running)
        open_ones = [ticket.job for ticket in tickets if not ticket.job.state.is_final]
        under_way = [job.id for job in open_ones if job.state is JobState.RUNNING]
        await _cancel(call, under_way or [job.id for job in open_ones[:1]])
    return {}


async def _cancel(call: SdCall, job_ids: Sequence[str]) -> None:
    for job_id in job_ids:
        with suppress(EaselError):  # it has ended
            await call.cancel(job_id)
