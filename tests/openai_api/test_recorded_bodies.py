"""Requests as programs that are no Python library send them: headers, bodies, and what they read of the answer."""

import pytest

from tests.openai_api.openai_bodies import CHAT, EDITS, GENERATIONS, data_url, events_of, open_base64
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
NO_KEY = {"Authorization": "Bearer"}
"""What Open WebUI sends if no key was entered."""


async def test_open_webui_lists_models(client):
    answer = await client.get("/v1/models", headers={**NO_KEY, "Content-Type": "application/json"})

    assert {"paint", "look"} <= {model["id"] for model in answer.json()["data"]}


async def test_open_webui_generates_an_image(client):
    """routers/images.py: model, prompt, n, size, response_format, then the owner's further parameters."""
    body = {
        "model": "dall-e-2", "prompt": "a red circle", "n": 1, "size": "128x128", "response_format": "b64_json",
        "negative_prompt": "blue", "quality": "standard",
    }  # fmt: skip
    answer = await client.post(GENERATIONS, json=body, headers=NO_KEY, params={"api-version": "1"})
    (image,) = answer.json()["data"]

    assert not image.get("url")
    assert open_base64(image["b64_json"]).size == (128, 128)


async def test_open_webui_edits_images(client):
    """One file is `image`, several are `image[]`; numbers are texts."""
    data = {"model": "paint", "prompt": "a blue circle", "n": "1", "size": "64x64", "response_format": "b64_json"}
    one = [("image", ("image.png", picture(1, 32, 32), "image/png"))]
    several = [("image[]", (f"{number}.png", picture(number, 32, 32), "image/png")) for number in (1, 2)]
    for files in (one, several):
        answer = await client.post(EDITS, data=data, files=files, headers=NO_KEY)
        assert open_base64(answer.json()["data"][0]["b64_json"]).size == (64, 64)


async def test_open_webui_chats_about_an_image(client):
    body = {
        "stream": True, "model": "look", "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "User Context:\n\n"},
            {"role": "user", "content": [
                {"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": data_url()}},
            ]},
        ],
    }  # fmt: skip
    chunks = [data for _, data in await events_of(client, CHAT, body)][:-1]

    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]) == (
        "It is what is this?"
    )


async def test_sillytavern_captions_an_image(client):
    """src/endpoints/openai.js, `/caption-image` for a custom server: it reads choices[0].message.content."""
    body = {
        "model": "gpt-4-turbo",
        "messages": [
            {"role": "system", "content": "Caption as for an album."},
            {"role": "user", "content": [
                {"type": "text", "text": "what's in this image?"},
                {"type": "image_url", "image_url": {"url": data_url()}},
            ]},
        ],
    }  # fmt: skip
    answer = await client.post(CHAT, json=body, headers={"Authorization": "Bearer undefined"})

    assert answer.json()["choices"][0]["message"]["content"] == "It is what's in this image?"


async def test_librechat_chats_with_a_history_of_texts(client):
    """The earlier turns have texts alone; the image came first."""
    photo = {"type": "image_url", "image_url": {"url": data_url(), "detail": "auto"}}
    body = {
        "model": "look", "user": "66f0", "stream": True,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "what is this?"}, photo]},
            {"role": "assistant", "content": "It is what is this?"},
            {"role": "user", "content": "and its colour?"},
        ],
    }  # fmt: skip
    chunks = [data for _, data in await events_of(client, CHAT, body)][:-1]

    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "It is and its colour?"
