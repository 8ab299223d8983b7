"""`/v1/chat/completions` and `/v1/responses`: questions about images, captions, threads and streams."""

import asyncio
import gc
import io
import json
from dataclasses import replace

import pytest
from PIL import Image

from adapters.openai import conversations
from adapters.web.client_calls import ClientCall
from bot.models import IMAGE_TEXT_TO_TEXT
from tests.openai_api.openai_bodies import (
    CHAT,
    RESPONSES,
    assistant,
    chat,
    data_url,
    error_of,
    events_of,
    user,
)
from tests.web.api_client import make, problem
from tests.web.conftest import MODELS, SECRET, open_client
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOOK = MODELS[1]
PHOTOS = [picture(seed, 32, 32) for seed in range(3)]


@pytest.fixture
def chatting(shared_server):
    """The model chats: it sees several images and reads earlier answers."""
    models = shared_server.usecases.models
    models.add_model(replace(LOOK, tasks=(IMAGE_TEXT_TO_TEXT, *LOOK.tasks), max_images=4))
    yield
    models.add_model(LOOK)


async def answer_of(client, *messages, **more):
    answer = await client.post(CHAT, json=chat(*messages, **more))
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def response(text, *images, **more):
    parts = [{"type": "input_text", "text": text}] if text else []
    parts += [{"type": "input_image", "image_url": data_url(image)} for image in images]
    return {"model": "gpt-4o", "input": [{"role": "user", "content": parts}], **more}


async def respond(client, body):
    answer = await client.post(RESPONSES, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def text_of(body):
    return body["output"][0]["content"][0]["text"]


# ---------------------------------------------------------------- what is asked


async def test_a_text_and_an_image_are_a_question(client, tasks):
    assert await answer_of(client, user("what is this?", PHOTOS[0])) == "It is what is this?"
    assert [task.command for task in tasks] == ["ask"]


async def test_an_image_alone_is_captioned(client, tasks):
    assert await answer_of(client, user("", PHOTOS[0])) == "It is a picture"
    assert [task.command for task in tasks] == ["caption"]


async def test_a_model_that_reads_no_thread_gets_the_last_question_and_the_last_image(client, tasks):
    first, second = user("one?", PHOTOS[0]), user("two?", PHOTOS[1])
    await answer_of(client, first, assistant("It is one?"), second, assistant("It is two?"), user("and now?"))

    assert tasks[-1].options["question"] == "and now?"
    assert not tasks[-1].options.get("thread", ())
    assert len(tasks[-1].images) == 1


async def test_a_model_that_chats_reads_the_thread_that_the_client_repeats(client, tasks, chatting):
    messages = [user("one?", PHOTOS[0])]
    for question in ("two?", "three?"):
        messages += [assistant(await answer_of(client, *messages)), user(question)]
    await answer_of(client, *messages)

    assert [turn["question"] for turn in tasks[-1].options.get("thread", ())] == ["one?", "two?"]


async def test_an_answer_that_this_server_did_not_give_begins_a_new_thread(client, tasks, chatting):
    await answer_of(client, user("one?", PHOTOS[1]))
    await answer_of(client, user("one?", PHOTOS[1]), assistant("Something else."), user("two?"))

    assert not tasks[-1].options.get("thread", ())


async def test_a_model_that_chats_sees_all_images_so_far(client, tasks, chatting):
    await answer_of(client, user("one?", PHOTOS[0]), assistant("x"), user("which?", PHOTOS[1], PHOTOS[2]))

    assert len(tasks[-1].images) == 3


async def test_a_model_that_chats_reads_long_questions(client, tasks, chatting):
    long = "word " * 1400 + "end"
    first = await answer_of(client, user(long, PHOTOS[0]))
    await answer_of(client, user(long, PHOTOS[0]), assistant(first), user("and?"))

    assert [turn["question"] for turn in tasks[-1].options["thread"]] == [long]


async def test_a_model_that_does_not_chat_refuses_long_questions(client):
    answer = await client.post(CHAT, json=chat(user("x" * 501, PHOTOS[0])))

    assert "limit is 500" in error_of(answer, 400, "invalid_value")["message"]


async def test_a_model_that_chats_answers_texts_alone(client, tasks, chatting):
    first = await answer_of(client, user("hello?"))
    await answer_of(client, user("hello?"), assistant(first), user("and now?"))
    after = await answer_of(client, user("hello?"), assistant(first), user("what is it?", PHOTOS[0]))

    assert (first, after) == ("It is hello?", "It is what is it?")
    assert [len(task.images) for task in tasks] == [0, 0, 1]
    assert [len(task.options.get("thread", ())) for task in tasks] == [0, 1, 1]


async def test_a_question_about_no_image_is_a_job_like_others(client, shared_server, chatting):
    await answer_of(client, user("a lone question?"))
    headers = {"Authorization": f"Bearer {SECRET}"}
    job = (await client.get("/api/v1/jobs?q=lone", headers=headers)).json()["jobs"][0]
    recipe = await client.get(f"/api/v1/jobs/{job['id']}/recipe", headers=headers)
    exported = await client.post("/api/v1/export", json={"jobs": [job["id"]]}, headers=headers)
    further = {"command": "ask", "options": {"question": "and?"}, "parent": job["id"]}
    asked_on = await client.post("/api/v1/jobs", json=further, headers=headers)
    erased = await client.delete(f"/api/v1/jobs/{job['id']}?erase=true", headers=headers)

    assert (job["images"], job["result"]["text"]) == ([], "It is a lone question?")
    assert (recipe.status_code, exported.status_code, erased.status_code) == (200, 200, 204)
    assert asked_on.status_code == 422, "elsewhere a question without an image is a mistake"


async def test_fields_become_options_of_the_text(client, tasks):
    more = {"temperature": 0.5, "top_p": 0, "max_tokens": 4096, "seed": 7, "n": 1}
    await answer_of(client, user("x", PHOTOS[0]), **more)
    options = tasks[-1].options

    assert (options["temperature"], options["top_p"], options["max_new_tokens"], options["seed"]) == (0.5, 0.01, 256, 7)


async def test_a_model_without_sampling_is_asked_without_it(client, tasks, shared_server):
    models = shared_server.usecases.models
    models.add_model(replace(LOOK, capabilities={"options": ["max_new_tokens"]}))
    answer = await client.post(CHAT, json=chat(user("x", PHOTOS[0]), temperature=0.5))
    models.add_model(LOOK)

    assert answer.headers["x-easel-ignored"] == "temperature"
    assert tasks[-1].options["temperature"] == 0


async def test_what_no_model_reads_is_named(client):
    body = chat(
        {"role": "system", "content": "be brief"}, user("x", PHOTOS[0]), tools=[], response_format={"type": "text"}
    )
    answer = await client.post(CHAT, json=body)

    assert answer.headers["x-easel-ignored"] == "tools, response_format, messages.system"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (chat(user("hello")), "No message has an image"),
        (chat(), "a list of messages"),
        (chat({"role": "system", "content": "x"}), "the role user"),
        (chat(user("x", "https://example.org/cat.png")), "URLs are not fetched"),
        (chat(user("x", "data:image/png;base64,%%")), "base64 is damaged"),
        (chat(user("x", "")), "send an image"),
        (chat({"role": "user", "content": [{"type": "input_audio"}]}), "texts and images"),
        (chat({"role": "user", "content": [{"type": []}]}), "texts and images"),
        (chat({"role": ["user"], "content": "x"}), "the role user"),
        (chat({"role": "user", "content": 3}), "a list of parts"),
        (chat(user("\ud800", "\ud800")), "URLs are not fetched"),
        (chat(user("x" * 501, PHOTOS[0])), "501 characters"),
        (chat(user("x", PHOTOS[0], PHOTOS[1])), "one picture at a time"),
    ],
    ids=[
        "text alone",
        "empty",
        "no user",
        "foreign URL",
        "base64",
        "no URL",
        "audio",
        "type",
        "role",
        "number",
        "half a pair",
        "long",
        "two images",
    ],
)
async def test_messages_that_cannot_be_answered_are_refused(client, body, words):
    answer = await client.post(CHAT, content=json.dumps(body))  # httpx sends no half of a surrogate pair

    error = error_of(answer, 400, "invalid_value")
    assert words in error["message"]
    assert error["param"] == "messages"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": 3}, "stop"),
        ({"stop": "x" * 201}, "stop"),
        ({"temperature": 3}, "temperature"),
    ],
    ids=str,
)
async def test_a_wrong_field_is_refused_by_its_name(client, fields, param):
    answer = await client.post(CHAT, json=chat(user("x", PHOTOS[0]), **fields))

    assert error_of(answer, 400, "invalid_value")["param"] == param


@pytest.mark.parametrize("many", [1, 1900])
async def test_a_very_long_text_is_refused_without_being_cleaned(client, monkeypatch, many):
    """Cleaning takes time linear in the length, in which nobody else is answered."""
    cleaned, clean = [], conversations.clean_text

    def clean_and_count(text):
        cleaned.append(len(text))
        return clean(text)

    monkeypatch.setattr(conversations, "clean_text", clean_and_count)
    messages = [{"role": "user", "content": "\u00e9" * (200_000 // many)} for _ in range(many)]
    answer = await client.post(CHAT, json=chat(*messages, user("", PHOTOS[0])))

    assert error_of(answer, 400, "invalid_value")["param"] == "messages"
    assert cleaned == []


@pytest.fixture
def uploads(monkeypatch):
    """The images of requests that are decoded and stored."""
    seen, store_image = [], ClientCall.store_image

    async def store(call, data):
        seen.append(data)
        return await store_image(call, data)

    monkeypatch.setattr(ClientCall, "store_image", store)
    return seen


@pytest.mark.parametrize("is_thread", [False, True])
async def test_more_images_than_any_model_sees_are_refused_before_they_are_read(client, chatting, uploads, is_thread):
    photos = [picture(seed, 32, 32) for seed in range(300, 311)]
    messages = [user("x", photo) for photo in photos] if is_thread else [user("x", *photos)]
    error = error_of(await client.post(CHAT, json=chat(*messages)), 400, "invalid_value")

    assert (error["message"], error["param"]) == ("11 pictures are too many; the limit here is 10.", "messages")
    assert uploads == []


async def test_each_image_of_a_thread_is_read_once(client, chatting, uploads):
    await answer_of(client, user("a?", PHOTOS[0]), assistant("x"), user("b?", PHOTOS[1]), assistant("y"), user("c?"))

    assert uploads == PHOTOS[:2]


# ---------------------------------------------------------------- streams


async def test_a_chat_streams_its_answer_in_deltas(client):
    body = chat(user("one two?", PHOTOS[0]), stream=True, stream_options={"include_usage": True})
    events = [data for _, data in await events_of(client, CHAT, body)]
    chunks = events[:-1]
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]]

    assert events[-1] == "[DONE]"
    assert len([text for text in texts if text]) > 1
    assert "".join(texts) == "It is one two?"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]][-1] == "stop"
    assert chunks[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("stop", "reason"), [([], "length"), (["two"], "stop")])
async def test_an_answer_that_may_be_no_longer_ends_for_its_length(client, stream, stop, reason):
    body = chat(user("one two?", PHOTOS[0]), max_tokens=4, stop=stop, stream=stream)
    if stream:
        chunk = [data for _, data in await events_of(client, CHAT, body)][-2]
    else:
        chunk = (await client.post(CHAT, json=body)).json()
        assert chunk["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}

    assert chunk["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_that_may_be_no_longer_is_incomplete(client, stream):
    body = response("one two?", PHOTOS[0], max_output_tokens=4, stream=stream)
    if stream:
        name, data = (await events_of(client, RESPONSES, body))[-1]
        made = data["response"]
        assert name == "response.incomplete"
    else:
        made = await respond(client, body)

    assert (made["status"], made["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (made["output"][0]["status"], text_of(made)) == ("incomplete", "It is one two?")
    assert (made["usage"]["input_tokens"], made["usage"]["output_tokens"]) == (7, 4)
    assert (await client.get(f"{RESPONSES}/{made['id']}")).json() == made


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_ends_before_a_stop_text(client, stream):
    body = chat(user("one two?", PHOTOS[0]), stop=["two", "three"], stream=stream)
    if stream:
        events = [data for _, data in await events_of(client, CHAT, body)][:-1]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events)
    else:
        text = await answer_of(client, user("one two?", PHOTOS[0]), stop=["two", "three"])

    assert text == "It is one "


async def test_a_question_that_fails_in_a_stream_is_its_last_event(client):
    events = await events_of(client, CHAT, chat(user("fail", PHOTOS[0]), stream=True))

    assert events[-1][1]["error"]["code"] == "engine_failed"


async def test_a_response_streams_its_events_in_order(client):
    events = await events_of(client, RESPONSES, response("one two?", PHOTOS[0], stream=True))
    names = [name for name, _ in events]

    assert names[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert set(names[4:-4]) == {"response.output_text.delta"}
    assert names[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    assert "".join(data["delta"] for name, data in events if name.endswith("delta")) == "It is one two?"
    assert text_of(events[-1][1]["response"]) == "It is one two?"


async def test_a_response_that_fails_ends_as_failed(client):
    events = await events_of(client, RESPONSES, response("fail", PHOTOS[0], stream=True))

    assert events[-1][0] == "response.failed"
    assert events[-1][1]["response"]["error"]["code"] == "engine_failed"


# ---------------------------------------------------------------- responses


async def test_a_response_follows_another_by_its_id(client, tasks, chatting):
    first = await respond(client, response("one?", PHOTOS[0]))
    second = await respond(client, {"input": "two?", "previous_response_id": first["id"]})

    assert second["previous_response_id"] == first["id"]
    assert text_of(second) == "It is two?"
    assert [turn["question"] for turn in tasks[-1].options.get("thread", ())] == ["one?"]


async def test_a_response_that_follows_another_with_a_further_image_is_about_both(client, tasks, chatting):
    first = await respond(client, response("one?", PHOTOS[0]))
    await respond(client, response("two?", PHOTOS[1], previous_response_id=first["id"]))

    assert len(tasks[-1].images) == 2
    assert [turn["question"] for turn in tasks[-1].options["thread"]] == ["one?"]


async def test_a_model_that_does_not_chat_is_asked_about_the_further_image_alone(client, tasks):
    first = await respond(client, response("one?", PHOTOS[0]))
    await respond(client, response("two?", PHOTOS[1], previous_response_id=first["id"]))

    assert [Image.open(io.BytesIO(one.media.data)).tobytes() for one in tasks[-1].images] == [
        Image.open(io.BytesIO(PHOTOS[1])).tobytes()
    ]


async def test_a_response_is_found_again(client):
    made = await respond(client, response("", PHOTOS[0]))
    found = (await client.get(f"{RESPONSES}/{made['id']}")).json()

    assert found == made
    assert (made["status"], text_of(made)) == ("completed", "It is a picture")


@pytest.mark.parametrize("name", ["resp_aaaaaaaaaaaaaaaa", "resp_x", "../jobs"])
async def test_an_unknown_response_is_not_found(client, name):
    error = error_of(await client.post(RESPONSES, json={"input": "x", "previous_response_id": name}), 404, "not_found")

    assert (error["message"], error["param"]) == (f"You have no response called {name}.", "previous_response_id")


async def test_a_text_alone_is_refused_where_responses_name_it_input(client):
    assert error_of(await client.post(RESPONSES, json={"input": "hello"}), 400, "invalid_value")["param"] == "input"


async def test_nothing_that_came_through_this_api_enters_training(client, shared_server):
    """Neither an answer that it gave, nor one that REST gave about an image that it brought."""
    await answer_of(client, user("what of this?", picture(77, 40, 40)))
    async with open_client(shared_server) as page:
        asked = (await page.get("/api/v1/jobs?q=what+of+this")).json()["jobs"][0]
        again = await make(page, {"command": "caption", "images": [asked["images"][0]["id"]]})
        correction = {"text": "a lynx", "consent": True}
        corrected = [await page.post(f"/api/v1/jobs/{job['id']}/correction", json=correction) for job in (asked, again)]

    assert [problem(answer, 422, "invalid_option")["option"] for answer in corrected] == ["consent"] * 2
    assert await shared_server.storage.corrections.list_consented() == []


async def test_a_large_body_is_not_kept_while_its_job_waits(client, shared_server):
    """Hundreds of calls may wait, each with photos of several MiB in base64."""
    url = data_url(noise(512))
    shared_server.pool.go_on.clear()
    asking = asyncio.create_task(client.post(CHAT, content=json.dumps(chat(user("a slow photo?", url)))))
    async with open_client(shared_server) as page:
        while not (await page.get("/api/v1/jobs?q=photo&state=running")).json()["jobs"]:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.01)
    held = [one for one in gc.get_objects() if isinstance(one, dict) and isinstance(one.get("messages"), list)]
    shared_server.pool.go_on.set()

    assert (await asking).status_code == 200
    assert held == []


def noise(side):
    file = io.BytesIO()
    Image.effect_noise((side, side), 90).save(file, "PNG")
    return file.getvalue()
