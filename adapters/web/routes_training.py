"""`/api/v1/admin/train` and `/trainings`: training adapters, for admins only."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from adapters.web.auth import require_admin
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.schemas import ProblemInfo
from adapters.web.training_schemas import TrainBody
from bot.usecases.training_orders import TrainingOrder
from bot.usecases.training_views import adapter_body, training_body

router = APIRouter(
    prefix="/api/v1/admin",
    tags=["admin"],
    dependencies=[Depends(require_admin)],
    responses={"4XX": {"model": ProblemInfo}},
)


@router.post("/train", status_code=202)
async def start_training(request: Request, context: ContextDep) -> dict[str, Any]:
    """Train an adapter in the background, while people's jobs come first; `GET /trainings/{name}` reports progress.

    It is switched on only if it passes its test: new answers rise by 20 points, and old ones fall by less than 2.
    """
    body = await read_json(request, TrainBody)
    return training_body(await context.usecases.trainings.start(TrainingOrder(**body.model_dump())))


@router.get("/trainings")
async def list_trainings(context: ContextDep) -> dict[str, Any]:
    """Trainings since the server started, and all trained adapters with their report cards."""
    trainings = context.usecases.trainings
    return {
        "trainings": [training_body(one) for one in trainings.list_trainings()],
        "adapters": [adapter_body(one) for one in await trainings.adapters.list_adapters()],
    }


@router.get("/trainings/{name}")
async def get_training(name: str, context: ContextDep) -> dict[str, Any]:
    """The latest training of this name since the server started, with its losses."""
    return training_body(context.usecases.trainings.find(name))


@router.get("/trainings/{name}/samples/{n}", response_class=Response)
async def get_sample(name: str, n: int, context: ContextDep) -> Response:
    """A sample picture of an image adapter, from 1, in pairs without and with it."""
    return Response(await context.usecases.trainings.read_sample(name, n), media_type="image/png")


@router.delete("/trainings/{name}")
async def cancel_training(name: str, context: ContextDep) -> dict[str, Any]:
    """Cancel it and delete its checkpoints."""
    return training_body(await context.usecases.trainings.cancel(name))
