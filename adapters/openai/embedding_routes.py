"""`/v1/embeddings`: vectors of texts, and of images in the same space."""

import base64
import struct
from typing import Any

from starlette.responses import JSONResponse, Response

from adapters.openai.fields import Fields
from adapters.openai.image_inputs import is_image_text, read_image
from adapters.openai.model_names import EMBEDDING, chosen_model, find_model
from adapters.web.client_calls import ClientCall
from adapters.web.embedding_schemas import MAX_TEXT
from bot.errors import InvalidOption
from bot.options import OptionSpec
from bot.ports import Embedding

PARAMS = {"text": "input", "image": "input"}
MAX_INPUTS = 256
MAX_IMAGES = 3
_ENCODING = OptionSpec(name="encoding_format", kind=str, help="", choices=("float", "base64"))
_USAGE = {"prompt_tokens": 0, "total_tokens": 0}


async def create_embeddings(call: ClientCall) -> Response:
    fields = Fields(await call.read_json(images=MAX_IMAGES))
    encoding = fields.read(_ENCODING) or "float"
    if fields.get("dimensions") is not None:
        raise InvalidOption("dimensions", "body", allowed="vectors have the model's own length: leave it out")
    _check_model(call, fields.get("model"))
    inputs = _read_inputs(fields.get("input"))
    embeddings = [await _embed(call, text) for text in inputs]
    data = [
        {"object": "embedding", "index": number, "embedding": _encode(_mean(embedding), encoding)}
        for number, embedding in enumerate(embeddings)
    ]
    body = {"object": "list", "data": data, "model": embeddings[0].model, "usage": _USAGE}
    return JSONResponse(body, headers=fields.headers)


def _check_model(call: ClientCall, given: Any) -> None:
    """One model embeds. Raises: ModelNotFound; InvalidOption: another model was named."""
    models = call.context.usecases.models
    name, model = find_model(models, given), chosen_model(models, None, EMBEDDING)
    if name is not None and model is not None and name != model.name:
        raise InvalidOption("model", "choice", value=name, allowed=model.name)


def _read_inputs(given: Any) -> list[str]:
    """Raises: InvalidOption."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InvalidOption("input", "body", allowed="it must be a text or a list of texts")
    if any(not isinstance(text, str) for text in texts):
        allowed = "send texts, not tokens (LangChain: check_embedding_ctx_length=False)"
        raise InvalidOption("input", "body", allowed=allowed)
    if len(texts) > MAX_INPUTS:
        raise InvalidOption("input", "body", allowed=f"it may have at most {MAX_INPUTS} texts")
    for text in texts:
        if len(text) > MAX_TEXT and not is_image_text(text):
            raise InvalidOption("input", "long", value=len(text), allowed=str(MAX_TEXT))
    return texts


async def _embed(call: ClientCall, text: str) -> Embedding:
    person, vectors = call.caller.person, call.context.usecases.vectors
    if not is_image_text(text):
        return await vectors.embed_text(person, text)
    return await vectors.embed_image(person, (await read_image(call, text, "input")).id)


def _mean(embedding: Embedding) -> list[float]:
    """Of the vectors that an image has several of, with length 1 again."""
    rows = embedding.rows
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    length = sum(value * value for value in mean) ** 0.5 or 1.0
    return [value / length for value in mean]


def _encode(vector: list[float], encoding: str) -> Any:
    """Base64: little-endian float32, as clients ask for by default."""
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
