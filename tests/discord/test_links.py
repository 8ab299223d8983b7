"""One person on Discord and on REST: a code from /link, and a job from Discord in the history of the page."""

import re
from pathlib import Path

import httpx2

from adapters.web.app import build_app
from adapters.web.context import WebContext
from adapters.web.settings import WebSettings
from adapters.web.uploads import UploadReceiver
from bot.usecases import AdapterContext
from tests.discord.app_fixture import DiscordApp
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import imagine_and_wait


def open_rest(app: DiscordApp, data_dir: Path, key: str) -> httpx2.AsyncClient:
    """The REST API of the same server, without a socket."""
    adapter = AdapterContext(
        usecases=app.application.usecases,
        data_dir=data_dir,
        secret="",
        announce=app.announcements.append,
        publish_address=lambda _url: None,
        inbox=app.storage.inbox,
        read_secret=lambda _name: "",
    )
    context = WebContext(WebSettings(), adapter, 2**20, UploadReceiver(WebSettings(), data_dir, 2**20))
    transport = httpx2.ASGITransport(app=build_app(context))
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


async def test_a_job_from_discord_is_in_the_history_of_the_linked_person(
    app: DiscordApp, ann: SimulatedUser, data_dir: Path
) -> None:
    _, key = await app.application.usecases.people.create_key("ann at home", is_admin=False)
    asked = ann.slash("link")
    told = await ann.private_reply(asked)
    code = re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}", told)
    assert code is not None
    async with open_rest(app, data_dir, key) as rest:
        linked = await rest.post("/api/v1/link", json={"code": code.group()})
        await imagine_and_wait(ann, "a red fox")
        jobs = (await rest.get("/api/v1/jobs")).json()["jobs"]
        picture = await rest.get(jobs[0]["result"]["media"][0]["url"])
        accounts = (await rest.get("/api/v1/link")).json()["accounts"]

    assert asked.messages[0].ephemeral_for is ann.person
    assert linked.json()["linked"] is True
    assert [job["options"]["prompt"] for job in jobs] == ["a red fox"]
    assert picture.status_code == 200
    assert [one["platform"] for one in accounts] == ["discord", "web"]


async def test_a_code_from_the_page_is_confirmed_by_a_button_and_the_account_leaves_again(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    links = app.application.usecases.links
    home = await app.application.usecases.people.named_person("ann at home")
    code = (await links.create_code(home)).text
    asked = ann.slash("link", code=code)
    await until(lambda: asked.messages and asked.messages[0].buttons, "the question")
    accept = f"own:link:{code.replace('-', '')}"
    done = await ann.private_reply(ann.press_unchecked(asked.messages[0], accept))
    both = await links.list_accounts(home)
    left = await ann.private_reply(ann.slash("link", code="remove", confirm=True))

    assert asked.messages[0].buttons == [accept, "own:keep"]
    assert asked.messages[0].ephemeral_for is ann.person
    assert "now linked" in done
    assert len(both) == 2
    assert "no longer linked" in left
    assert "no jobs yet" in await ann.private_reply(ann.slash("history"))
