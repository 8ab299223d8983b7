"""Bodies of other programs' APIs with hostile values in any field: each is answered, or refused in the API's form."""

import base64
import json
import random
from typing import Any

import httpx2

from tests.fuzz.findings import Findings, Stopwatch
from tests.fuzz.hostile_prompts import VALUES, hostile_prompt
from tests.fuzz.target import FuzzTarget
from tests.web.fake_pool import picture

IMAGE = base64.b64encode(picture(3, 48, 32)).decode()
DATA_URL = f"data:image/png;base64,{IMAGE}"
_UNIT = {"image": IMAGE, "module": "canny", "model": "None", "weight": 1.0, "guidance_start": 0.0, "guidance_end": 1.0}
_DRAWING: dict[str, Any] = {
    "prompt": "a fox", "negative_prompt": "fog", "styles": ["ink"], "seed": 5, "subseed": 7, "subseed_strength": 0.2,
    "batch_size": 2, "n_iter": 1, "steps": 4, "cfg_scale": 3.5, "width": 64, "height": 64, "sampler_name": "DDIM",
    "scheduler": "Automatic", "enable_hr": False, "hr_scale": 1.5, "denoising_strength": 0.5, "tiling": False,
    "override_settings": {"sd_model_checkpoint": "paint", "CLIP_stop_at_last_layers": 1}, "script_name": None,
    "script_args": [4, "2,4", [], 0, "", [], 0, "", [], True, True], "send_images": True,
    "alwayson_scripts": {"ControlNet": {"args": [_UNIT]}, "ADetailer": {"args": [False, {"ad_model": "face"}]}},
}  # fmt: skip
_CHAT = [{"role": "user", "content": [{"type": "text", "text": "what is it?"},
                                      {"type": "image_url", "image_url": {"url": DATA_URL}}]}]  # fmt: skip
_INPUT = [{"role": "user", "content": [{"type": "input_text", "text": "what is it?"},
                                       {"type": "input_image", "image_url": DATA_URL}]}]  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "/sdapi/v1/txt2img": _DRAWING,
    "/sdapi/v1/img2img": {
        **_DRAWING, "init_images": [IMAGE], "mask": DATA_URL, "mask_blur": 4, "inpaint_full_res": True,
        "inpainting_mask_invert": 0, "resize_mode": 1, "image_cfg_scale": 1.5,
    },
    "/sdapi/v1/extra-single-image": {"image": IMAGE, "resize_mode": 0, "upscaling_resize": 2, "upscaler_1": "Lanczos"},
    "/sdapi/v1/extra-batch-images": {"imageList": [{"data": IMAGE, "name": "a"}], "upscaling_resize": 2},
    "/sdapi/v1/png-info": {"image": IMAGE},
    "/sdapi/v1/interrogate": {"image": IMAGE, "model": "clip"},
    "/sdapi/v1/options": {"sd_model_checkpoint": "paint", "samples_format": "png"},
    "/controlnet/detect": {"controlnet_module": "canny", "controlnet_images": [IMAGE]},
    "/v1/images/generations": {
        "model": "gpt-image-1", "prompt": "a fox", "n": 1, "size": "64x64", "quality": "low", "output_format": "png",
        "response_format": "b64_json", "seed": 7, "user": "x", "background": "auto",
    },
    "/v1/chat/completions": {"model": "gpt-4o", "messages": _CHAT, "max_tokens": 9, "temperature": 0.5, "n": 1},
    "/v1/responses": {"model": "gpt-5", "input": _INPUT, "max_output_tokens": 16, "previous_response_id": None},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": ["a fox", DATA_URL], "encoding_format": "float"},
}  # fmt: skip


async def post_program_bodies(target: FuzzTarget, findings: Findings, *, count: int, rng: random.Random) -> None:
    async with target.open_client(target.ann) as client:
        for _ in range(count):
            path = rng.choice(sorted(BODIES))
            body, watch = json.dumps(mutate(BODIES[path], rng)), Stopwatch()
            answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
            shown = f"{path} {body.replace(IMAGE, 'IMAGE')}"
            findings.count(answer.status_code, shown, watch.seconds)
            findings.expect(is_answer(path, answer), f"{answer.status_code} {answer.text[:200]} for {shown}")


def is_answer(path: str, answer: httpx2.Response) -> bool:
    if answer.status_code == 200:
        return True
    content = answer.json()
    told = content.get("error", {}).get("message") if path.startswith("/v1/") else content.get("detail")
    return 400 <= answer.status_code < 500 and isinstance(told, str) and told != "" and "Traceback" not in told


def mutate(body: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A copy with one to three values replaced, left out or doubled, at any depth."""
    copy: dict[str, Any] = json.loads(json.dumps(body))
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(copy))
        if not places:
            break
        holder, key = rng.choice(places)
        what = rng.randrange(5)
        if what == 0 and isinstance(holder, dict):
            holder.pop(key)
        elif what == 1 and isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[key] = rng.choice((*VALUES, hostile_prompt(rng), IMAGE[:40], "http://127.0.0.1:1/x.png"))
    return copy


def _places(value: Any) -> Any:
    """Every container with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from _places(value[key])
