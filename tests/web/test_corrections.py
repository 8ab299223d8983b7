"""Corrections of captions and answers over REST, with consent that is given, shown and withdrawn."""

from datetime import UTC, datetime

import pytest

from bot.ports import AdapterRecord, TrainedExample
from bot.safety.words import BlockedWords
from tests.web.api_client import imagine, job_of, make, problem, upload, wait_for
from tests.web.conftest import open_client
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def client(shared_client):
    return shared_client


async def answered(client, seed=1, command="ask", **options):
    """A job with a caption or an answer about a photo of its own."""
    photo = await upload(client, picture(seed, 48, 32))
    question = {"question": "what is this?"} if command == "ask" else {}
    return await make(client, {"command": command, "images": [photo["id"]], "options": {**question, **options}})


async def correct(client, job, text="a lynx", *, consent=False):
    answer = await client.post(f"/api/v1/jobs/{job['id']}/correction", json={"text": text, "consent": consent})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def shown(client, job):
    return (await job_of(client, job["id"]))["correction"]


async def examples(server):
    corrections = server.usecases.corrections
    listed = await corrections.corrections.list_consented()
    return [(one.text, one.question, await corrections.read_image(one)) for one in listed]


async def learn(server, name):
    """An adapter that learned from everything that may be used."""
    made = AdapterRecord(
        name=name, kind="vision", model="look", revision="1", sha256="0", state="accepted", report={},
        created_at=datetime.now(UTC),
    )  # fmt: skip
    used = await server.storage.corrections.list_consented()
    await server.storage.adapters.save_adapter(made, [TrainedExample("d", one.id) for one in used])


async def adapters(server):
    return {one.name: one.state for one in await server.storage.adapters.list_adapters()}


@pytest.mark.parametrize("command", ["caption", "ask"])
async def test_a_correction_from_its_first_words_to_its_end(client, shared_server, command):
    job = await answered(client, 10, command)
    first = await correct(client, job, "  a lynx\u202e ")
    consented = await correct(client, job, "a lynx", consent=True)
    again = await correct(client, job, "a lynx", consent=True)
    listed = (await client.get("/api/v1/jobs")).json()["jobs"][0]["correction"]
    used = await examples(shared_server)
    withdrawn = await correct(client, job, "a lynx")
    after = await examples(shared_server)
    gone = [(await client.delete(f"/api/v1/jobs/{job['id']}/correction")).status_code for _ in range(2)]

    assert (first["text"], first["consent"], first["consented_at"], first["withdrawn_at"]) == (
        "a lynx", False, None, None,
    )  # fmt: skip
    assert consented["consent"]
    assert consented == again
    assert listed == {name: again[name] for name in listed}
    assert [(text, question) for text, question, _ in used] == [
        ("a lynx", "what is this?" if command == "ask" else ""),
    ]
    assert used[0][2].startswith(b"\x89PNG")
    assert (withdrawn["consent"], withdrawn["consented_at"], withdrawn["note"]) == (False, None, "")
    assert withdrawn["withdrawn_at"] >= again["consented_at"]
    assert after == []
    assert gone == [204, 204]
    assert await shown(client, job) is None


async def test_words_that_replace_others_need_consent_of_their_own(client, shared_server):
    job = await answered(client, 11)
    await correct(client, job, "a cat", consent=True)
    replaced = await correct(client, job, "a lynx")

    assert (replaced["text"], replaced["consent"], replaced["withdrawn_at"]) == ("a lynx", False, None)
    assert await examples(shared_server) == []


async def test_an_adapter_that_learned_from_withdrawn_words_is_named_and_switched_off(client, shared_server):
    jobs = [await answered(client, 12 + number) for number in range(3)]
    for job, name in zip(jobs, ("withdrawn", "replaced", "deleted"), strict=True):
        await correct(client, job, consent=True)
        await learn(shared_server, name)
        if name == "withdrawn":
            answer = await correct(client, job)
            note = "The adapter withdrawn learned from it and is switched off. Its owner can train it again without it."
            assert (answer["retired_adapters"], answer["note"]) == (["withdrawn"], note)
            assert (await correct(client, job))["retired_adapters"] == []
        elif name == "replaced":
            assert (await correct(client, job, "a cat", consent=True))["retired_adapters"] == ["replaced"]
            await correct(client, job, "a cat")
        else:
            answer = await client.delete(f"/api/v1/jobs/{job['id']}/correction")
            assert answer.headers["easel-retired-adapters"] == "deleted"

    assert await adapters(shared_server) == dict.fromkeys(("withdrawn", "replaced", "deleted"), "retired")
    assert await shared_server.storage.corrections.list_withdrawn() == []


async def test_what_is_withdrawn_with_its_job_is_forgotten_soon(client, shared_server):
    job = await answered(client, 20)
    await correct(client, job, consent=True)
    await learn(shared_server, "by-job")
    await client.delete(f"/api/v1/jobs/{job['id']}?erase=true")
    pending = await shared_server.storage.corrections.list_withdrawn()
    await shared_server.usecases.corrections.finish_withdrawals()

    assert len(pending) == 1
    assert (await adapters(shared_server))["by-job"] == "retired"
    assert await shared_server.storage.corrections.list_withdrawn() == []


async def test_forgetting_that_fails_is_repeated_and_consent_is_withdrawn_all_the_same(easel):
    await easel.serve()
    failing = iter([OSError("the disk is full")])
    forgotten = []

    async def forget(corrections):
        for error in failing:
            raise error
        forgotten.extend(corrections)
        return []

    object.__setattr__(easel.usecases.corrections, "forget_examples", forget)
    async with open_client(easel) as client:
        job = await answered(client)
        await correct(client, job, consent=True)
        assert (await correct(client, job))["withdrawn_at"] is not None
    assert await examples(easel) == []
    pending = await easel.storage.corrections.list_withdrawn()
    await easel.usecases.corrections.finish_withdrawals()

    assert forgotten == pending
    assert await easel.storage.corrections.list_withdrawn() == []


async def test_a_text_has_1_to_500_characters(client):
    job = await answered(client, 21)
    for body in (
        {"text": ""},
        {"text": " \u200b "},
        {"text": "a" * 501},
        {"text": "a" * 4000},
        {"text": 7},
        {},
        {"text": "a", "consent": "yes"},
        {"text": "a", "more": 1},
    ):
        problem(await client.post(f"/api/v1/jobs/{job['id']}/correction", json=body), 422, "invalid_option")

    assert await shown(client, job) is None


async def test_only_captions_and_answers_about_one_picture_can_be_corrected(client):
    drawn = await make(client, imagine())
    described = await make(
        client, {"command": "describe", "images": [(await upload(client, picture(5, 48, 32)))["id"]], "options": {}}
    )
    sentences = [
        problem(await client.post(f"/api/v1/jobs/{job['id']}/correction", json={"text": "a"}), 422, "invalid_option")
        for job in (drawn, described)
    ]

    assert {one["detail"] for one in sentences} == {"Only captions and answers about one picture can be corrected."}


async def test_a_picture_of_a_chat_is_corrected_without_consent_only(client, shared_server):
    person = await shared_server.usecases.people.local_person()
    photo = await shared_server.usecases.media.upload(person, picture(66, 40, 40), source="discord")
    job = await make(client, {"command": "caption", "images": [photo.id], "options": {}})
    refused = await client.post(f"/api/v1/jobs/{job['id']}/correction", json={"text": "a lynx", "consent": True})
    saved = await correct(client, job)

    assert "nothing from there is used for training" in problem(refused, 422, "invalid_option")["detail"]
    assert not saved["consent"]


async def test_a_blocked_word_is_refused(easel):
    object.__setattr__(easel.usecases.moderation, "words", BlockedWords(["zebra"]))
    await easel.serve()
    async with open_client(easel) as client:
        job = await answered(client)
        answer = await client.post(f"/api/v1/jobs/{job['id']}/correction", json={"text": "a z e b r a"})

    problem(answer, 403, "blocked")


async def test_somebody_elses_job_is_not_found_and_nothing_is_changed(easel):
    ann, ben = [await easel.create_key(name) for name in ("Ann", "Ben")]
    await easel.serve()
    async with open_client(easel) as client:
        client.headers["Authorization"] = f"Bearer {ann}"
        job = await answered(client)
        await correct(client, job, consent=True)
        client.headers["Authorization"] = f"Bearer {ben}"
        path = f"/api/v1/jobs/{job['id']}/correction"
        problem(await client.post(path, json={"text": "a dog", "consent": True}), 404, "not_found")
        problem(await client.delete(path), 404, "not_found")
        client.headers["Authorization"] = f"Bearer {ann}"
        assert (await shown(client, job))["text"] == "a lynx"
    assert [text for text, _, _ in await examples(easel)] == ["a lynx"]


async def test_a_blocked_person_can_withdraw_and_delete_but_not_correct(easel):
    key = await easel.create_key("Ann")
    await easel.serve()
    async with open_client(easel) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        job = await answered(client)
        await correct(client, job, consent=True)
        person = (await easel.usecases.people.list_keys())[0].person
        await easel.storage.administration.set_blocked(person.id, is_blocked=True)
        path = f"/api/v1/jobs/{job['id']}/correction"
        used = await examples(easel)
        problem(await client.post(path, json={"text": "a dog", "consent": True}), 403, "blocked")
        withdrawn = await correct(client, job)
        gone = await client.delete(path)

    assert used == []
    assert withdrawn["withdrawn_at"] is not None
    assert gone.status_code == 204


async def test_the_correction_of_an_erased_job_is_not_found(client):
    job = await answered(client, 22)
    await correct(client, job, consent=True)
    await client.delete(f"/api/v1/jobs/{job['id']}?erase=true")
    path = f"/api/v1/jobs/{job['id']}/correction"

    problem(await client.post(path, json={"text": "a", "consent": True}), 404, "not_found")
    problem(await client.delete(path), 404, "not_found")


async def test_a_change_of_a_correction_reaches_the_events_of_its_owner(client, shared_server):
    job = await answered(client, 23)
    person = await shared_server.usecases.people.local_person()
    before = await shared_server.storage.changes.last_change(person.id)
    await correct(client, job)
    changes = await shared_server.storage.changes.list_changes(person.id, before, 10)

    assert [(one.job.id, one.marks.correction.text) for one in changes] == [(job["id"], "a lynx")]
    assert (await wait_for(client, job["id"]))["correction"]["text"] == "a lynx"
