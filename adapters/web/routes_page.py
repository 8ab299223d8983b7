"""The page and what watches the process: `/`, `/docs`, `/healthz`, `/readyz`, `/metrics`."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from adapters.web.context import House, TheHouse
from adapters.web.problems import CODES
from bot.jobs import JobState
from bot.usecases import Operations

HERE = Path(__file__).parent
STATIC = HERE / "static"
templates = Jinja2Templates(HERE / "templates")
router = APIRouter(include_in_schema=False)
_NO_CACHE = {"Cache-Control": "no-cache"}


class FreshFiles(StaticFiles):
    """Asked again at each visit, so that an update of Easel is seen at once; unchanged files answer 304."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request, house: TheHouse) -> Response:
    told = {"needs_key": await house.needs_key(), "max_upload_mb": house.max_upload // 2**20}
    return templates.TemplateResponse(request, "page.html", told, headers=_NO_CACHE)


@router.get("/docs")
async def docs(request: Request) -> Response:
    return templates.TemplateResponse(request, "docs.html", {"codes": CODES}, headers=_NO_CACHE)


@router.get("/favicon.ico")
async def favicon() -> Response:
    return FileResponse(STATIC / "favicon.svg", media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(house: TheHouse) -> Response:
    """The database answers and a worker is ready."""
    checks = await house.usecases.operations.readiness()
    is_ready = all(check.is_ok for check in checks) and not house.closing.is_set()
    content = {
        "ready": is_ready,
        "checks": {
            check.name: {"ok": check.is_ok, "sentence": check.sentence, "details": dict(check.details)}
            for check in checks
        },
    }
    return JSONResponse(content, 200 if is_ready else 503, {"Cache-Control": "no-store"})


@router.get("/metrics")
async def metrics(house: TheHouse) -> Response:
    """Figures only: no prompt, no name."""
    text = generate_latest(house.figures.registry) + generate_latest(await _Snapshot.of(house))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


class _Snapshot:
    """The queue and the devices as they are now, as a registry that prometheus_client can write."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> list[GaugeMetricFamily]:
        return self._families

    @classmethod
    async def of(cls, house: House) -> "_Snapshot":
        operations: Operations = house.usecases.operations
        counts = await operations.counts()
        jobs = GaugeMetricFamily("easel_jobs", "Jobs by state", labels=["state"])
        for state in JobState:
            jobs.add_metric([state.value], counts.get(state, 0))
        return cls([jobs, *_device_families(operations)])


def _device_families(operations: Operations) -> list[GaugeMetricFamily]:
    is_ready = GaugeMetricFamily("easel_device_ready", "Whether the device takes jobs", labels=["device"])
    running = GaugeMetricFamily("easel_device_running", "Jobs running on the device", labels=["device"])
    restarts = GaugeMetricFamily("easel_device_restarts", "How often its process was started anew", labels=["device"])
    memory = GaugeMetricFamily("easel_device_memory_bytes", "Memory its process uses", labels=["device"])
    warm = GaugeMetricFamily("easel_model_warm", "Models loaded on the device", labels=["device", "model"])
    for status in operations.devices():
        is_ready.add_metric([status.device], float(status.state == "ready"))
        running.add_metric([status.device], status.running)
        restarts.add_metric([status.device], status.restarts)
        memory.add_metric([status.device], status.memory_mb * 2**20)
        for model in status.warm:
            warm.add_metric([status.device, model], 1.0)
    return [is_ready, running, restarts, memory, warm]
