"""Bodies that OpenAI's clients send, and what they read of the answers."""

import base64
import io
import json

from PIL import Image

from tests.web.fake_pool import picture

GENERATIONS, EDITS, VARIATIONS = "/v1/images/generations", "/v1/images/edits", "/v1/images/variations"
CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"


def data_url(data=None):
    return "data:image/png;base64," + base64.b64encode(data or picture(3, 48, 32)).decode()


def user(text="what is this?", *images):
    """A message with the images as data: URLs, or as they are."""
    urls = [one if isinstance(one, str) else data_url(one) for one in images]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [*([{"type": "text", "text": text}] if text else []), *parts]}


def assistant(text):
    return {"role": "assistant", "content": text}


def chat(*messages, **more):
    return {"model": "gpt-4o", "messages": list(messages), **more}


def error_of(answer, status, code):
    """Check the form of an error; returns it."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code, error
    assert error["message"]
    return error


async def images_of(client, path=GENERATIONS, **request):
    """The opened images of an answer."""
    answer = await client.post(path, **request)
    assert answer.status_code == 200, answer.text
    return [open_base64(one["b64_json"]) for one in answer.json()["data"]]


def open_base64(text):
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


async def events_of(client, path, body):
    """Each event of a stream as (name, data); the name of unnamed ones is ""."""
    events, name = [], ""
    async with client.stream("POST", path, json=body) as stream:
        assert stream.status_code == 200, await stream.aread()
        async for line in stream.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                events.append((name, value if value == "[DONE]" else json.loads(value)))
                name = ""
    return events


def mask(*, clear_left, size=(48, 32)):
    """Black, and transparent on the left or nowhere."""
    file = io.BytesIO()
    image = Image.new("RGBA", size, (0, 0, 0, 255))
    if clear_left:
        image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    image.save(file, "PNG")
    return file.getvalue()
