"""`/controlnet`: which controls there are, and the maps of images, as sd-webui-controlnet's API answers."""

import asyncio
from typing import Any

from starlette.routing import Route

from adapters.sdapi.call import Endpoints, SdCall
from adapters.sdapi.control_units import LISTED_MODULES, LISTED_REFERENCE, MODULES, NONE, list_control_models
from adapters.sdapi.image_fields import decode_image, encode_image
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import REFERENCE_KINDS

API_VERSION = 2
MAX_UNITS = 3
MAX_DETECTED = 4
"""Images of which one call makes maps."""


def list_routes(endpoints: Endpoints) -> list[Route]:
    return [
        endpoints.get("/version", _get_version),
        endpoints.get("/model_list", _list_models),
        endpoints.get("/module_list", _list_modules),
        endpoints.get("/control_types", _list_types),
        endpoints.get("/settings", _get_settings),
        endpoints.post("/detect", detect, images=MAX_DETECTED),
    ]


async def _get_version(call: SdCall) -> dict[str, Any]:
    return {"version": API_VERSION}


async def _get_settings(call: SdCall) -> dict[str, Any]:
    return {"control_net_unit_count": MAX_UNITS}


async def _list_models(call: SdCall) -> dict[str, Any]:
    return {"model_list": list(list_control_models(call.context.usecases.models))}


def list_modules(call: SdCall) -> list[str]:
    """Maps can be made, and be given ready, of every kind; references only where a model takes them."""
    kinds = {kind for _, kind in list_control_models(call.context.usecases.models).values()}
    return [*LISTED_MODULES, *([LISTED_REFERENCE] if kinds & set(REFERENCE_KINDS) else [])]


async def _list_modules(call: SdCall) -> dict[str, Any]:
    modules = list_modules(call)
    return {"module_list": modules, "module_detail": {name: {"model_free": False, "sliders": []} for name in modules}}


async def _list_types(call: SdCall) -> dict[str, Any]:
    """A type for each kind, with the modules and models of it."""
    models, modules = list_control_models(call.context.usecases.models), list_modules(call)
    types = {"All": _describe_type(modules, list(models))}
    for module in modules[1:]:
        kind = next((one for part, one in MODULES.items() if part in module), "")
        own = [name for name, (role, of) in models.items() if of == kind or (not kind and role == "reference")]
        title = "IP-Adapter" if module == LISTED_REFERENCE else module.split("_")[0].capitalize()
        types[title] = _describe_type([NONE, module], own)
    return {"control_types": types}


def _describe_type(modules: list[str], models: list[str]) -> dict[str, Any]:
    return {
        "module_list": modules,
        "model_list": ["None", *models],
        "default_option": modules[-1] if len(modules) == 2 else NONE,
        "default_model": models[0] if models else "None",
    }


async def detect(call: SdCall) -> dict[str, Any]:
    """The map of each image, as `preview` makes it. Raises: InvalidOption."""
    fields = call.fields
    module = fields.text("controlnet_module", NONE).strip()
    kind = next((one for part, one in MODULES.items() if part in module.casefold()), "")
    if not kind:
        raise InvalidOption("controlnet_module", "choice", value=module[:60], allowed=", ".join(LISTED_MODULES[1:]))
    values = fields.items("controlnet_images") or fields.items("controlnet_input_images")
    if not 1 <= len(values) <= MAX_DETECTED:
        raise InvalidOption("controlnet_images", "range", value=len(values), allowed=f"1 to {MAX_DETECTED}")
    stored = []
    for value in values:
        stored.append(await call.store_image(await asyncio.to_thread(decode_image, "controlnet_images", value)))
    del values, value
    options = {"what": "control", "kind": kind}
    jobs = await call.run([call.to_request("preview", options, [ImageRef(image.id)]) for image in stored])
    images = [await call.read_image(job.result.media[0].id) for job in jobs if job.result is not None]
    return {"images": [encode_image(image.data) for image in images], "info": "Success"}
