"""`/api/v1/admin`: what only an admin may do: choose, fetch and remove models."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from adapters.web.auth import the_admin
from adapters.web.bodies import read_json
from adapters.web.context import TheHouse
from adapters.web.schemas import AddModelBody, ProblemInfo, UseModelBody
from bot.errors import NotFound
from bot.models import ModelSpec
from bot.usecases.model_views import addition_body, freed_body, installation_body, rows, spec_body, terms_body
from bot.usecases.models import Installation

router = APIRouter(
    prefix="/api/v1/admin",
    tags=["for admins"],
    dependencies=[Depends(the_admin)],
    responses={"4XX": {"model": ProblemInfo}},
)


models_router = APIRouter(
    prefix="/api/v1/models",
    tags=["for admins"],
    dependencies=[Depends(the_admin)],
    responses={"4XX": {"model": ProblemInfo}},
)


@models_router.post("/release")
async def release(house: TheHouse) -> dict[str, Any]:
    """Unload every model that no job runs on, and give its memory back; the next job loads its own again."""
    return freed_body(await house.usecases.choosing.release())


@router.get("/models")
async def models(house: TheHouse) -> dict[str, Any]:
    """Every model and preset: whether it fits this machine, what it takes on the disk, how far it is on its way."""
    using = house.usecases.choosing
    found = rows(using, await using.fits(), await using.downloads.usage())
    return {"models": found, "additions": [addition_body(one) for one in using.files.additions()]}


@router.get("/models/{name}/terms")
async def terms(name: str, house: TheHouse) -> dict[str, Any]:
    """Licences, bytes to fetch and how it would run here; asks the hub."""
    return terms_body(await house.usecases.choosing.terms(name))


@router.post("/models/{name}/use", status_code=202)
async def use(name: str, request: Request, house: TheHouse) -> dict[str, Any]:
    """Fetch, verify, try and switch to the model; it goes on by itself, and `GET /installation` says how far it is."""
    body = await read_json(request, UseModelBody)
    begun = await house.usecases.choosing.use(
        name,
        tasks=body.tasks,
        accepted=body.accept_licence,
        anyway=body.anyway,
        only_fetch=body.only_fetch,
    )
    return installation_body(begun)


@router.get("/models/{name}/installation")
async def installation(name: str, house: TheHouse) -> dict[str, Any]:
    """The latest installation of the model since the server started."""
    return installation_body(_installation(house, name))


@router.delete("/models/{name}/installation")
async def stop(name: str, house: TheHouse) -> dict[str, Any]:
    """Give it up; what was fetched stays for the next time."""
    await house.usecases.choosing.stop(name)
    return installation_body(_installation(house, name))


@router.get("/models/{name}/installation/picture")
async def trial_picture(name: str, house: TheHouse) -> Response:
    """The picture that the model made when it was tried."""
    for trial in _installation(house, name).trials:
        if trial.picture is not None:
            return Response(trial.picture.data, media_type=trial.picture.media_type)
    raise NotFound("picture", name)


@router.post("/models", status_code=201)
async def add(request: Request, house: TheHouse) -> dict[str, Any]:
    """Make `org/name`, a folder or a file of the server's machine known."""
    body = await read_json(request, AddModelBody)
    added = await house.usecases.catalogue.add(body.source, name=body.name, file=body.file)
    if isinstance(added, ModelSpec):
        return {"model": spec_body(added)}
    return {"addition": addition_body(added)}


@router.delete("/models/{name}")
async def remove(name: str, house: TheHouse, keep_files: bool = False) -> dict[str, Any]:
    """Take it away; `freed_bytes` of files that no other model needs are deleted."""
    freed = await house.usecases.catalogue.remove(name, keeps_files=keep_files)
    return {"freed_bytes": freed}


def _installation(house: Annotated[Any, "the house"], name: str) -> Installation:
    using = house.usecases.choosing
    found: Installation | None = using.standing(using.find(name).name)
    if found is None:
        raise NotFound("model", name)
    return found
