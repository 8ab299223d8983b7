"""`/api/v1/jobs/{id}/recipe`: what repeats a job."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query

from adapters.web.auth import CallerDep
from adapters.web.context import ContextDep
from adapters.web.prompt_schemas import RecipeInfo
from adapters.web.routes_jobs import require_job_id
from adapters.web.schemas import ProblemInfo
from adapters.web.views import IMAGE_FIELDS
from bot.errors import InvalidOption
from bot.usecases import Recipe

MAX_NUMBER = 999
_NUMBER = re.compile("[1-9][0-9]{0,2}")

router = APIRouter(prefix="/api/v1", tags=["jobs"], responses={"4XX": {"model": ProblemInfo}})


@router.get("/jobs/{job_id}/recipe", response_model=RecipeInfo)
async def get_recipe(
    job_id: str,
    context: ContextDep,
    caller: CallerDep,
    picture: Annotated[
        str,
        Query(
            description="The number of one of its pictures, from 1: its own seed, and no count",
            json_schema_extra={"type": "integer", "minimum": 1},
        ),
    ] = "",
) -> Any:
    """What repeats one of the caller's own jobs: its words as they were typed, and all that its model's defaults do
    not give."""
    number = _parse_number(picture)
    return recipe_json(
        await context.usecases.recipes.read_recipe(caller.person, require_job_id(job_id), picture=number)
    )


def _parse_number(text: str) -> int:
    if not text:
        return 0
    if not _NUMBER.fullmatch(text):
        raise InvalidOption("picture", "range", value=text[:40], allowed=f"1 to {MAX_NUMBER}")
    return int(text)


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    return {
        "job": recipe.job.id,
        "command": recipe.job.command,
        "words": dict(recipe.words),
        "all": dict(recipe.options),
        "all_but_seed": {name: value for name, value in recipe.options.items() if name != "seed"},
        "given": list(recipe.given),
        "defaults": dict(recipe.defaults),
        "images": [
            {name: getattr(image, name) for name in IMAGE_FIELDS} | {"available": is_there}
            for image, is_there in recipe.images
        ],
        "seeds": list(recipe.seeds),
        "notes": list(recipe.notes),
    }
