"""The lists that clients read when they connect. Empty ones are of features that are not here."""

from collections.abc import Sequence
from typing import Any

from starlette.routing import Route

from adapters.sdapi.answers import software_name
from adapters.sdapi.call import Endpoints, SdCall
from adapters.sdapi.checkpoints import describe_checkpoint, list_checkpoints
from adapters.sdapi.control_units import list_control_models
from adapters.sdapi.sampling import list_samplers, list_schedulers
from adapters.sdapi.xyz_plot import NAME as XYZ_PLOT
from bot.models import IMAGE_SEGMENTATION, IMAGE_UPSCALING
from bot.usecases import NamedAddon

RESIZERS = ("None", "Lanczos")
_EMPTY = (
    "latent-upscale-modes", "sd-vae", "sd-modules", "hypernetworks", "face-restorers", "realesrgan-models",
    "extensions", "artists", "artist-categories", "log", "controlnets", "detailers",
)  # fmt: skip
_MIB = 2**20


def list_routes(endpoints: Endpoints) -> list[Route]:
    lists = {
        "sd-models": list_models,
        "samplers": _list_samplers,
        "schedulers": _list_schedulers,
        "upscalers": list_upscalers,
        "loras": list_loras,
        "embeddings": list_embeddings,
        "prompt-styles": list_styles,
        "scripts": list_scripts,
        "script-info": describe_scripts,
        "cmd-flags": get_flags,
        "memory": get_memory,
        "version": get_version,
        **dict.fromkeys(_EMPTY, _list_nothing),
    }
    routes = [endpoints.get(f"/v1/{path}", handler) for path, handler in lists.items()]
    for path in ("refresh-checkpoints", "refresh-vae", "refresh-loras", "refresh-embeddings"):
        routes.append(endpoints.post(f"/v1/{path}", _do_nothing, images=None))
    routes.append(endpoints.post("/v1/unload-checkpoint", unload, images=None, needs_admin=True))
    routes.append(endpoints.post("/v1/reload-checkpoint", _do_nothing, images=None, needs_admin=True))
    return routes


async def _list_nothing(call: SdCall) -> list[Any]:
    return []


async def _do_nothing(call: SdCall) -> dict[str, Any]:
    """Lists are always up to date, and models are loaded when a job needs them."""
    return {}


async def list_models(call: SdCall) -> list[dict[str, Any]]:
    return [describe_checkpoint(spec) for spec in list_checkpoints(call.context.usecases.models)]


async def _list_samplers(call: SdCall) -> list[dict[str, Any]]:
    return list_samplers(list_checkpoints(call.context.usecases.models))


async def _list_schedulers(call: SdCall) -> list[dict[str, Any]]:
    return list_schedulers()


async def list_upscalers(call: SdCall) -> list[dict[str, Any]]:
    """`scale`: of the upscaling model, as far as it is known."""
    models = [spec for spec in call.context.usecases.models.installed() if IMAGE_UPSCALING in spec.tasks]
    named = [*((name, None) for name in RESIZERS), *((spec.name, spec.capabilities.get("scale", 4)) for spec in models)]
    unknown = {"model_path": None, "model_url": None}
    return [
        {"name": name, "model_name": None if scale is None else name, "scale": scale, **unknown}
        for name, scale in named
    ]


async def _list_addons(call: SdCall, kind: str) -> Sequence[NamedAddon]:
    found, _ = await call.context.usecases.names.list_addons(call.caller.person.id)
    return [one for one in found if one.addon.kind == kind]


async def list_loras(call: SdCall) -> list[dict[str, Any]]:
    return [
        {
            "name": one.addon.name,
            "alias": next(iter(one.addon.spellings), one.addon.name),
            "path": f"{one.addon.name}.safetensors",
            "metadata": {"ss_base_model_version": one.addon.family or None, "trigger_words": list(one.trigger_words)},
        }
        for one in await _list_addons(call, "lora")
    ]


async def list_embeddings(call: SdCall) -> dict[str, Any]:
    unknown = dict.fromkeys(("step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"))
    names = [next(iter(one.addon.spellings), one.addon.name) for one in await _list_addons(call, "inversion")]
    return {"loaded": {name: {**unknown, "shape": 0, "vectors": 0} for name in names}, "skipped": {}}


async def list_styles(call: SdCall) -> list[dict[str, Any]]:
    found, _ = call.context.usecases.names.list_styles()
    return [{"name": one.name, "prompt": one.style.prompt, "negative_prompt": one.style.negative} for one in found]


def script_names(call: SdCall) -> list[str]:
    """What requests may name, as far as a model here can do it."""
    models = call.context.usecases.models
    names = [XYZ_PLOT]
    if any(role == "control" for role, _ in list_control_models(models).values()):
        names.append("controlnet")
    if models.default_for(IMAGE_SEGMENTATION) is not None:
        names.append("adetailer")
    return names


async def list_scripts(call: SdCall) -> dict[str, list[str]]:
    names = script_names(call)
    return {"txt2img": names, "img2img": list(names)}


async def describe_scripts(call: SdCall) -> list[dict[str, Any]]:
    return [
        {"name": name, "is_alwayson": name != XYZ_PLOT, "is_img2img": is_img2img, "args": []}
        for name in script_names(call)
        for is_img2img in (False, True)
    ]


async def get_flags(call: SdCall) -> dict[str, Any]:
    return {"api": True, "listen": not call.context.is_private, "nowebui": False, "share": False}


async def get_memory(call: SdCall) -> dict[str, Any]:
    """In bytes, of this machine and its first accelerator: for its admins."""
    unknown = {"error": "unavailable"}
    if not call.caller.is_admin:
        return {"ram": unknown, "cuda": unknown}
    machine = await call.context.usecases.model_manager.machine_spec()
    ram, free = machine.ram_mb * _MIB, machine.free_ram_mb * _MIB
    memory: dict[str, Any] = {"ram": {"free": free, "used": max(0, ram - free), "total": ram}, "cuda": unknown}
    if machine.accelerator is not None and machine.accelerator[2]:
        name, _, megabytes = machine.accelerator
        devices = call.context.usecases.operations.devices()
        used, total = sum(one.memory_mb for one in devices if one.device == name) * _MIB, megabytes * _MIB
        memory["cuda"] = {"system": {"free": max(0, total - used), "used": used, "total": total}}
    return memory


async def get_version(call: SdCall) -> dict[str, Any]:
    """SD.Next's: clients show it."""
    return {"app": "Easel", "version": software_name(), "updated": "", "hash": "", "branch": "", "url": ""}


async def unload(call: SdCall) -> dict[str, Any]:
    """Models that no job uses leave the devices' memory."""
    await call.context.usecases.model_manager.unload_idle_models()
    return {}
