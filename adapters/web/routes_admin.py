"""`/api/v1/admin`: installs, switches and removes models, for admins only."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from adapters.web.auth import require_admin
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep, WebContext
from adapters.web.model_schemas import AddModelBody, OptimizeModelBody, ScanModelsBody, UseModelBody
from adapters.web.schemas import ProblemInfo
from bot.errors import NotFound
from bot.models import ModelSpec
from bot.usecases.adapter_views import adapter_rows
from bot.usecases.installations import Installation
from bot.usecases.model_scan import scan_folder
from bot.usecases.model_views import (
    addon_body,
    installation_body,
    model_rows,
    scan_body,
    spec_body,
    terms_body,
    unload_body,
)

router = APIRouter(
    prefix="/api/v1/admin",
    tags=["admin"],
    dependencies=[Depends(require_admin)],
    responses={"4XX": {"model": ProblemInfo}},
)


models_router = APIRouter(
    prefix="/api/v1/models",
    tags=["admin"],
    dependencies=[Depends(require_admin)],
    responses={"4XX": {"model": ProblemInfo}},
)


@models_router.post("/release", include_in_schema=False)  # the old name
@models_router.post("/unload")
async def unload_models(context: ContextDep) -> dict[str, Any]:
    """Unload every idle model and free its memory; the next job that needs it loads it again."""
    return unload_body(await context.usecases.model_manager.unload_idle_models())


@router.get("/models")
async def list_all_models(context: ContextDep) -> dict[str, Any]:
    """Every model and preset: whether it fits this machine, its disk usage and installation progress, and, as
    `execution`, what it runs on and why something configured does not run. `adapters`: what was trained here."""
    manager, adapters = context.usecases.model_manager, context.usecases.adapters
    executions = await context.usecases.optimizer.find_executions()
    rows = model_rows(manager, await manager.estimate_fits(), await manager.downloads.disk_usage(), executions)
    return {
        "models": rows,
        "additions": [addon_body(addon) for addon in context.usecases.catalogue.files.list_addons()],
        "adapters": adapter_rows(await adapters.refresh(), adapters.models, adapters.data_dir),
    }


@router.get("/models/{name}/terms")
async def get_terms(name: str, context: ContextDep, weights: str = "", precision: str = "") -> dict[str, Any]:
    """Licences, download size and how the model would run on this machine, in these number formats; queries the hub."""
    terms = await context.usecases.model_manager.get_terms(name, weights=weights, precision=precision)
    return terms_body(terms)


@router.post("/models/{name}/use", status_code=202)
async def use_model(name: str, request: Request, context: ContextDep) -> dict[str, Any]:
    """Install, verify, test and switch to the model, in the background; `GET /installation` reports the progress.

    `weights` and `precision` also change the number formats of a model that is installed, if its test passes.
    `adapter` only switches the adapter, at once: nothing is installed.
    """
    body = await read_json(request, UseModelBody)
    if body.adapter:
        spec = await context.usecases.adapters.use(name, body.adapter)
        return installation_body(Installation(spec=spec, tasks=spec.default_for, is_finished=True))
    installation = await context.usecases.model_manager.use_model(
        name,
        tasks=body.tasks,
        licence_accepted=body.accept_licence,
        force=body.force,
        download_only=body.download_only,
        weights=body.weights,
        precision=body.precision,
    )
    return installation_body(installation)


@router.post("/models/{name}/optimize", status_code=202)
async def optimize_model(name: str, request: Request, context: ContextDep) -> dict[str, Any]:
    """Compile and try the model's denoiser in the background, and switch to it if asked to and if it is better.

    `GET /installation` reports progress and what was measured, `DELETE /installation` cancels. A build that is there
    already is not made again.
    """
    body = await read_json(request, OptimizeModelBody)
    installation = await context.usecases.optimizer.optimize(
        name, backend=body.backend, weights=body.weights, precision=body.precision, switch=body.switch
    )
    return installation_body(installation)


@router.delete("/models/{name}/builds")
async def remove_builds(name: str, context: ContextDep) -> dict[str, Any]:
    """Delete everything that was compiled for the model, which runs on torch then; `freed_bytes` is its size."""
    return {"freed_bytes": await context.usecases.optimizer.remove_builds(name)}


@router.get("/models/{name}/installation")
async def get_installation(name: str, context: ContextDep) -> dict[str, Any]:
    """The latest installation of the model since the server started."""
    return installation_body(_find_installation(context, name))


@router.delete("/models/{name}/installation")
async def cancel_installation(name: str, context: ContextDep) -> dict[str, Any]:
    """Cancel the installation, of which partial files are kept for resuming, or the compilation."""
    return installation_body(await context.usecases.model_manager.cancel_install(name))


@router.get("/models/{name}/installation/picture")
async def get_test_image(name: str, context: ContextDep) -> Response:
    """The image that the model generated in its test."""
    for test in _find_installation(context, name).smoke_tests:
        if test.image is not None:
            return Response(test.image.data, media_type=test.image.media_type)
    raise NotFound("picture", name)


@router.post("/models", status_code=201)
async def add_model(request: Request, context: ContextDep) -> dict[str, Any]:
    """Add a hub repository (`org/name`), a link to Civitai, or a folder or file on the server's machine."""
    body = await read_json(request, AddModelBody)
    said = body.model_dump(exclude={"source"})
    added = await context.usecases.catalogue.add_model(body.source, **said)
    if isinstance(added, ModelSpec):
        return {"model": spec_body(added)}
    return {"addition": addon_body(added)}


@router.post("/models/scan")
async def scan_models(request: Request, context: ContextDep) -> dict[str, Any]:
    """Adopt the models in a folder of ComfyUI or AUTOMATIC1111 on the server's machine, where they are."""
    body = await read_json(request, ScanModelsBody)
    return scan_body(body.folder, await scan_folder(context.usecases.catalogue, body.folder))


@router.delete("/models/{name}")
async def remove_model(name: str, context: ContextDep, keep_files: bool = False) -> dict[str, Any]:
    """Remove the model, LoRA or adapter and its files, unless another model needs them; `freed_bytes` is their size."""
    freed = await context.usecases.catalogue.remove_model(name, keeps_files=keep_files)
    return {"freed_bytes": freed}


def _find_installation(context: WebContext, name: str) -> Installation:
    manager = context.usecases.model_manager
    installation = manager.status(manager.models.require(name).name)
    if installation is None:
        raise NotFound("installation", "")
    return installation
