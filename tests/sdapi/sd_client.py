"""Helpers for tests of AUTOMATIC1111's API."""

import asyncio
import base64
import io
import json
from typing import Any

import httpx2
from PIL import Image

from tests.web.fake_pool import picture

PICTURE = base64.b64encode(picture(3, 48, 32)).decode()
DATA_URL = f"data:image/png;base64,{PICTURE}"


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


async def post(client: httpx2.AsyncClient, path: str, body: Any = None, **headers: str) -> Any:
    """The answer's JSON; it must be one of success."""
    answer = await client.post(f"/sdapi/v1/{path}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def get(client: httpx2.AsyncClient, path: str, **headers: str) -> Any:
    answer = await client.get(f"/sdapi/v1/{path}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def draw(client: httpx2.AsyncClient, path: str = "txt2img", **fields: Any) -> tuple[list[Image.Image], Any]:
    """The pictures and `info`."""
    answer = await post(client, path, {"prompt": "a red circle", **fields})
    return [open_picture(text) for text in answer["images"]], json.loads(answer["info"])


def open_picture(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


async def jobs_of(client: httpx2.AsyncClient, info: Any) -> list[dict[str, Any]]:
    return [(await client.get(f"/api/v1/jobs/{job_id}")).json() for job_id in info["jobs"]]


def refusal(answer: httpx2.Response, status: int) -> str:
    """Check that an answer is an error in AUTOMATIC1111's form; returns its sentence, without quotation marks."""
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) == {"error", "detail", "body", "errors"}
    assert content["detail"] == content["errors"] != ""
    return content["detail"].replace("“", "").replace("”", "")


async def until_running(client: httpx2.AsyncClient, **headers: str) -> dict[str, Any]:
    """The progress of the caller's call, once it is under way."""
    async with asyncio.timeout(20):
        while (found := await get(client, "progress", **headers))["state"]["sampling_step"] < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found
