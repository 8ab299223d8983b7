"""Refused prompts, deleted results and hidden images on the page and over REST."""

import contextlib
from dataclasses import replace
from itertools import product

import pytest

from bot.errors import Blocked, InvalidOption
from bot.jobs import Origin
from bot.ports import ModelCapabilities
from bot.safety import Policy
from tests.moderation import FakeClassifierAvailability
from tests.new_command import registered  # noqa: F401 - a fixture for all of this module
from tests.web.api_client import ask, imagine, make, problem, upload
from tests.web.conftest import open_client, open_easel
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
JOBS = "/api/v1/jobs"


@contextlib.asynccontextmanager
async def serving(tmp_path, **safety):
    async with open_easel(tmp_path, **safety) as easel:
        await easel.serve()
        yield easel


@contextlib.asynccontextmanager
async def open_caller(easel, *, name="Ada", is_admin=False):
    """A client with its own API key."""
    _, key = await easel.usecases.people.create_key(name, is_admin=is_admin)
    async with open_client(easel) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


async def count_stored(easel) -> int:
    return len(list((easel.data_dir / "media").rglob("*.*")))


async def test_blocked_words_are_refused_before_a_job_exists_and_are_not_repeated(tmp_path):
    async with serving(tmp_path, blocked_words=("broccoli",)) as easel, open_client(easel) as client:
        bodies = [
            imagine("a br0cc0li"),
            imagine("{a fox|b r o c c o l i}"),
            {"command": "ask", "options": {"question": "is it broccoli?"}, "images": []},
        ]
        bodies[2]["images"] = [(await upload(client, picture(3, 48, 32)))["id"]]
        answers = [await client.post(JOBS, json=body) for body in bodies]
        passed = await make(client, imagine("a fox", negative_prompt="broccoli"))
        jobs = (await client.get(JOBS)).json()["jobs"]

    for answer in answers:
        assert "occoli" not in problem(answer, 403, "blocked")["detail"]
    assert [job["id"] for job in jobs] == [passed["id"]]


async def test_prompts_that_are_never_allowed_are_refused_to_the_owner_too(shared_client):
    detail = problem(await shared_client.post(JOBS, json=imagine("a nude child")), 403, "blocked")["detail"]

    assert "never" in detail


async def test_a_sexual_picture_is_deleted_refunded_and_explained(server):
    async with open_caller(server) as client:
        job = await make(client, imagine("a nude statue"))
        quota = (await client.get("/api/v1/quota")).json()

    assert (job["state"], job["result"]) == ("failed", None)
    assert (job["error"]["code"], job["error"]["incident"]) == ("blocked", None)
    assert "weren't charged" in job["error"]["message"]
    assert (quota["used"], quota["reserved"]) == (0, 0)
    assert await count_stored(server) == 0


@pytest.mark.parametrize(("policy", "spoiler"), [("spoiler", True), ("allow", False)])
async def test_a_policy_shows_it_after_a_click_or_immediately(server, policy, spoiler):
    await server.usecases.moderation.set_policy(is_admin=True, platform="web", space_id="web", policy=policy)
    async with open_caller(server) as client:
        adult, harmless = await make(client, imagine("a nude statue")), await make(client, imagine("a fox"))

    assert adult["result"]["media"][0]["spoiler"] is spoiler
    assert harmless["result"]["media"][0]["spoiler"] is False


async def test_the_owners_own_page_has_a_policy_of_its_own(server, client):
    await server.usecases.moderation.set_policy(is_admin=True, platform="web", space_id="web", policy="block")

    assert (await make(client, imagine("a nude statue")))["state"] == "delivered"


async def test_a_failed_check_deletes_the_owners_result_too(shared_client):
    job = await make(shared_client, imagine("nan"))

    assert (job["state"], job["error"]["code"]) == ("failed", "blocked")


async def test_without_a_classifier_real_models_are_for_admins(server):
    server.usecases.moderation.classifier = FakeClassifierAvailability(is_installed=False)
    async with open_caller(server) as client:
        refused = problem(await client.post(JOBS, json=imagine("unseen")), 403, "blocked")
        demo = await make(client, imagine("a fox", model="demo"))
    async with open_caller(server, is_admin=True) as client:
        shown = await make(client, imagine("unseen"))

    assert "easel models use paint" in refused["detail"]
    assert demo["state"] == "delivered"
    assert shown["result"]["media"][0]["spoiler"] is True
    assert any("was not checked" in note for note in shown["result"]["notes"])


async def test_an_unchecked_picture_is_not_shown_to_others(server):
    async with open_caller(server) as client:
        job = await make(client, imagine("unseen"))

    assert (job["state"], job["error"]["code"]) == ("failed", "blocked")


async def test_a_sexual_input_picture_is_refused(server, a_picture):
    async with open_caller(server) as client:
        photo = await upload(client, a_picture)
        job = await make(client, {**imagine("nudes"), "images": [photo["id"]]})

    assert (job["state"], job["error"]["code"]) == ("failed", "blocked")
    assert "can't work with this picture" in job["error"]["message"]


def from_photo(photo, command="upscale", **options):
    return {"command": command, "options": options, "images": [photo["id"]]}


RESIZED = {"method": "resize"}
FROM_PHOTO = [("imagine", {"prompt": "{}"}), ("upscale", {**RESIZED, "prompt": "{}"}), ("mirror", {"look": "{}"})]
"""A request from a photo, and where the words for the fake engine are."""


def with_words(options, words):
    return {name: value.format(words) for name, value in options.items()}


async def test_what_is_made_from_an_uploaded_picture_is_judged_whatever_makes_it(server, a_picture):
    async with open_caller(server) as client:
        photo = await upload(client, a_picture)
        for words, (command, options) in product(("nude", "nudes", "nan"), FROM_PHOTO):
            job = await make(client, from_photo(photo, command, **with_words(options, words)))
            assert (job["state"], job["result"], job["error"]["code"]) == ("failed", None, "blocked"), (command, words)
        quota = (await client.get("/api/v1/quota")).json()
        own = await client.get(f"/api/v1/media/{photo['id']}")

    assert (quota["used"], quota["reserved"]) == (0, 0)
    assert await count_stored(server) == 1  # the upload, which is its owner's
    assert own.status_code == 200


async def test_an_adult_picture_is_hidden_where_the_policy_says_so_whatever_makes_it(server, a_picture):
    await server.usecases.moderation.set_policy(is_admin=True, platform="web", space_id="web", policy="spoiler")
    async with open_caller(server) as client:
        photo = await upload(client, a_picture)
        for (words, spoiler), (command, options) in product((("nude", True), ("a fox", False)), FROM_PHOTO):
            job = await make(client, from_photo(photo, command, **with_words(options, words)))
            assert job["result"]["media"][0]["spoiler"] is spoiler, (command, words)


async def test_without_a_classifier_a_picture_is_refused_to_other_people_on_the_page(server, a_picture):
    server.usecases.moderation.classifier = FakeClassifierAvailability(is_installed=False)
    server.pool.installed = False
    for command, options in FROM_PHOTO:
        body = with_words(options, "a fox")
        async with open_caller(server) as client:
            photo = await upload(client, a_picture)
            refused = problem(await client.post(JOBS, json=from_photo(photo, command, **body)), 403, "blocked")
        async with open_caller(server, is_admin=True) as client:
            shown = await make(client, from_photo(photo, command, **body))

        assert "isn't installed" in refused["detail"]
        assert shown["result"]["media"][0]["spoiler"] is True


@pytest.mark.parametrize(("policy", "spoiler"), [("spoiler", True), ("allow", False)])
async def test_without_a_classifier_the_owners_policy_decides_on_their_page(client, server, a_picture, policy, spoiler):
    moderation = server.usecases.moderation
    moderation.classifier = FakeClassifierAvailability(is_installed=False)
    moderation.settings = replace(moderation.settings, local_policy=policy)
    server.pool.installed = False
    photo = await upload(client, a_picture)
    job = await make(client, from_photo(photo, **RESIZED))
    moderation.settings = replace(moderation.settings, local_policy="block")
    refused = await client.post(JOBS, json=from_photo(photo, **RESIZED))

    assert job["result"]["media"][0]["spoiler"] is spoiler
    assert any("was not checked" in note for note in job["result"]["notes"])
    problem(refused, 403, "blocked")


async def test_a_picture_that_somebody_else_uploaded_is_not_found(server, a_picture):
    async with open_caller(server) as client:
        photo = await upload(client, a_picture)
    async with open_caller(server, name="Bea") as client:
        answers = [await client.post(JOBS, json=from_photo(photo, *request)) for request in (("upscale",), ("mirror",))]
        answers.append(await client.get(f"/api/v1/media/{photo['id']}"))

    for answer in answers:
        problem(answer, 404, "not_found")


async def test_no_preview_is_shown_where_pictures_may_be_blocked(server):
    async with open_caller(server) as client:
        job = await ask(client, imagine("slow"))
        previews = []
        async with client.stream("GET", f"{JOBS}/{job['id']}/events") as stream:
            async for line in stream.aiter_lines():
                if '"preview"' in line:
                    previews.append('"preview":null' in line.replace(" ", ""))
                    server.pool.go_on.set()

    assert previews
    assert all(previews)


async def test_only_admins_set_policies(server):
    moderation, space = server.usecases.moderation, {"platform": "telegram", "space_id": "-5"}
    with pytest.raises(Blocked):
        await moderation.set_policy(is_admin=False, **space, policy="allow")
    with pytest.raises(InvalidOption):
        await moderation.set_policy(is_admin=True, **space, policy="everything")

    chosen = await moderation.set_policy(is_admin=True, **space, policy="spoiler", edit_others=True)
    back = await moderation.set_policy(is_admin=True, **space, policy="default")

    assert (chosen.policy, chosen.edit_others, chosen.is_policy_chosen) == (Policy.SPOILER, True, True)
    assert (back.policy, back.edit_others, back.is_policy_chosen) == (Policy.BLOCK, True, False)


@pytest.mark.parametrize(("restricted", "expected"), [(None, "allow"), (True, "allow"), (False, "block")])
async def test_channels_without_age_restriction_use_the_block_policy(server, restricted, expected):
    await server.usecases.moderation.set_policy(is_admin=True, platform="discord", space_id="1", policy="allow")
    origin = Origin(platform="discord", space_id="1", account_id="7", age_restricted=restricted)

    assert await server.usecases.moderation.policy_for(origin) == expected


async def test_a_classifier_that_failed_to_load_counts_as_missing_until_it_works(server):
    server.usecases.moderation.on_model_loaded(ModelCapabilities(model="paint", capabilities={"checker": "broken"}))
    async with open_caller(server) as client:
        refused = await client.post(JOBS, json=imagine("a fox"))
    async with open_caller(server, is_admin=True) as client:
        assert (await make(client, imagine("a fox")))["state"] == "delivered"
    async with open_caller(server) as client:
        again = await make(client, imagine("a fox"))

    problem(refused, 403, "blocked")
    assert again["state"] == "delivered"
