"""`/api/v1/embeddings`: vectors of texts and of the caller's images."""

from typing import Any

from fastapi import APIRouter, Request

from adapters.web.auth import CallerDep
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.embedding_schemas import EmbeddingBody, EmbeddingInfo
from adapters.web.parameters import body_of
from adapters.web.schemas import ProblemInfo
from bot.errors import InvalidOption

router = APIRouter(prefix="/api/v1", tags=["media"], responses={"4XX": {"model": ProblemInfo}})


@router.post("/embeddings", response_model=EmbeddingInfo, openapi_extra=body_of("EmbeddingBody"))
async def embed(request: Request, context: ContextDep, caller: CallerDep) -> Any:
    """What the matching model sees in one of the caller's images, or reads in a text, as vectors of length 1 in a space
    that both share.

    The similarity of an image and a text is the largest dot product of the text's vector with one of the image's. Only
    vectors of the same model and revision can be compared. Nothing is charged; of several requests, each waits for the
    one before it.
    """
    body = await read_json(request, EmbeddingBody)
    vectors = context.usecases.vectors
    if (body.text is None) == (body.image is None):
        raise InvalidOption("body", "body", allowed='it must have either "text" or "image"')
    if body.text is not None:
        embedding = await vectors.embed_text(caller.person, body.text)
    else:
        embedding = await vectors.embed_image(caller.person, body.image or "")
    rows = embedding.rows
    return {
        "model": embedding.model,
        "revision": embedding.revision,
        "vectors": [list(row) for row in rows],
        "mean": [round(sum(column) / len(rows), 6) for column in zip(*rows, strict=True)],
    }
