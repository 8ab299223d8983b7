"""`options`: what clients read and write of AUTOMATIC1111's settings. Only the model has an effect, for its caller."""

from typing import Any

from starlette.routing import Route

from adapters.sdapi.call import Endpoints, SdCall
from adapters.sdapi.checkpoints import current_checkpoint, find_checkpoint

_FIXED: dict[str, Any] = {
    "sd_checkpoint_hash": "",
    "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 1,
    "samples_format": "png",
    "samples_save": True,
    "save_images_add_number": True,
    "return_grid": False,
    "enable_pnginfo": True,
    "live_previews_enable": True,
    "show_progress_every_n_steps": 1,
    "interrogate_keep_models_in_memory": True,
}
"""Settings that clients look for, with the values that describe what happens here."""


def list_routes(endpoints: Endpoints) -> list[Route]:
    return [
        endpoints.get("/v1/options", get_options),
        endpoints.post("/v1/options", set_options),
        endpoints.get("/v1/checkpoint", get_checkpoint),
        endpoints.post("/v1/checkpoint", set_checkpoint),
    ]


async def get_options(call: SdCall) -> dict[str, Any]:
    return {"sd_model_checkpoint": await current_checkpoint(call), **_FIXED}


async def set_options(call: SdCall) -> None:
    """Clients send back everything that they have read: what is not the model is ignored. Raises: InvalidOption."""
    title = call.fields.text("sd_model_checkpoint")
    if title:
        await _select(call, title)


async def get_checkpoint(call: SdCall) -> dict[str, Any]:
    """SD.Next's way to ask for the model."""
    name = await current_checkpoint(call)
    return {"type": "", "class": "", "title": name, "name": name, "filename": name, "hash": None}


async def set_checkpoint(call: SdCall) -> dict[str, Any]:
    """Raises: InvalidOption."""
    await _select(call, call.fields.text("sd_model_checkpoint"))
    return {"ok": True}


async def _select(call: SdCall, title: str) -> None:
    usecases = call.context.usecases
    spec = find_checkpoint(usecases.models, title)
    if spec.name != await current_checkpoint(call):
        await usecases.people.set_checkpoint(call.caller.person, spec.name)
