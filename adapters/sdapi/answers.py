"""What `txt2img` and `img2img` answer: pictures in base64, and what they were made with, as AUTOMATIC1111 words it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from adapters.sdapi.call import SdCall
from adapters.sdapi.fields import to_json_safe
from adapters.sdapi.image_fields import encode_image
from adapters.sdapi.infotext import text_of_png
from bot.jobs import Job, StoredImage
from bot.prompts.grammar import prompt_at
from bot.samplers import SAMPLER_NAMES

_IMAGES = ("init_images", "mask", "image", "imageList", "alwayson_scripts")
_MAX_SEED = 2**32


@dataclass(frozen=True, kw_only=True)
class MadePicture:
    """A picture of a result, `data` in base64."""

    job: Job
    image: StoredImage
    data: str
    infotext: str

    @property
    def seed(self) -> int:
        result = self.job.result
        seed = result.seed_of(self.image.number) if result is not None else None
        return -1 if seed is None else seed

    @property
    def prompt(self) -> str:
        return prompt_at(self.job.options, self.image.number - 1)

    @property
    def subseed(self) -> int:
        """-1: none was mixed in."""
        subseed = self.job.options.get("variation_seed")
        return -1 if subseed is None else (int(subseed) + self.image.number - 1) % _MAX_SEED


async def read_pictures(call: SdCall, jobs: Sequence[Job]) -> list[MadePicture]:
    """All pictures of the jobs. Raises: MediaNotFound: one was deleted meanwhile."""
    return [await _read_picture(call, job, image) for job in jobs for image in (job.result.media if job.result else ())]


async def _read_picture(call: SdCall, job: Job, image: StoredImage) -> MadePicture:
    usecases = call.context.usecases
    media = await usecases.media.convert(await call.read_image(image.id), "png")
    said = job.result.parameters if job.result is not None else ""
    return MadePicture(job=job, image=image, data=encode_image(media.data), infotext=text_of_png(media.data) or said)


def drawing_answer(
    call: SdCall, jobs: Sequence[Job], pictures: Sequence[MadePicture], *, sheets: int = 0
) -> dict[str, Any]:
    """`info` is JSON in a text. `sheets`: how many of the pictures, at their start, are sheets of a grid."""
    info = _describe(call, jobs, pictures) | {"index_of_first_image": sheets}
    wants_images = call.fields.flag("send_images", default=True)
    return {
        "images": [picture.data for picture in pictures] if wants_images else [],
        "parameters": _echo(call.body),
        "info": json.dumps(info, ensure_ascii=False),
    }


def _echo(body: Mapping[str, Any]) -> dict[str, Any]:
    """The request without its images, as AUTOMATIC1111 repeats it."""
    echo: dict[str, Any] = to_json_safe({name: value for name, value in body.items() if name not in _IMAGES})
    return echo | {name: None for name in _IMAGES[:2] if name in body}


def _describe(call: SdCall, jobs: Sequence[Job], pictures: Sequence[MadePicture]) -> dict[str, Any]:
    job = jobs[0]
    options, result = job.options, job.result
    first = pictures[0] if pictures else None
    negative = str(options.get("negative_prompt") or "")
    finished = job.finished_at or datetime.now(UTC)
    return {
        "prompt": first.prompt if first else str(options.get("prompt") or ""),
        "all_prompts": [picture.prompt for picture in pictures],
        "negative_prompt": negative,
        "all_negative_prompts": [negative] * len(pictures),
        "seed": first.seed if first else -1,
        "all_seeds": [picture.seed for picture in pictures],
        "subseed": first.subseed if first else -1,
        "all_subseeds": [picture.subseed for picture in pictures],
        "subseed_strength": options.get("variation_strength") or 0,
        "width": first.image.width if first else options.get("width"),
        "height": first.image.height if first else options.get("height"),
        "sampler_name": SAMPLER_NAMES.get(str(options.get("sampler")), options.get("sampler") or ""),
        "cfg_scale": options.get("guidance_scale"),
        "steps": options.get("steps"),
        "batch_size": len(pictures),
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": job.model,
        "sd_model_hash": (result.revision if result is not None else "")[:10],
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": options.get("strength"),
        "extra_generation_params": {},
        "infotexts": [picture.infotext for picture in pictures],
        "styles": [name for name in call.fields.items("styles") if isinstance(name, str)],
        "job_timestamp": finished.strftime("%Y%m%d%H%M%S"),
        "clip_skip": options.get("clip_skip", 1),
        "is_using_inpainting_conditioning": False,
        "version": software_name(),
        "ignored": call.fields.name_ignored(),
        "notes": list(dict.fromkeys(note for one in jobs if one.result is not None for note in one.result.notes)),
        "jobs": [one.id for one in jobs],
        "alts": [picture.image.alt for picture in pictures],
        "spoilers": [picture.image.is_spoiler for picture in pictures],
    }


def software_name() -> str:
    try:
        return f"Easel {version('easel')}"
    except PackageNotFoundError:
        return "Easel"
