"""`/admin` on Discord: who may, and what it does."""

from pathlib import Path

from tests.discord.app_fixture import MODELS, opened
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import Actor, until
from tests.discord.test_moderation import living, told
from tests.model_manager_fixture import FOX, FakeHub


async def test_admins_list_models_and_choose_a_policy_and_others_do_not(
    data_dir: Path, server: Loopback, ann: Actor
) -> None:
    async with living(data_dir, server) as house:
        refused = await told(ann.slash("admin"))
    assert refused == "Only this bot's admins can do that."
    assert "paint" not in refused

    async with living(data_dir, server, admins=(str(ann.person.id),)) as house:
        assert "paint" in await told(ann.slash("admin", what="models"))
        assert "behind a click" in await told(ann.slash("admin", what="policy", action="spoiler", edit_others=True))
        assert "There is no model" in await told(ann.slash("admin", what="models", action="use", model="nothing"))
        assert "name is missing" in await told(ann.slash("admin", what="models", action="use"))
        assert "unloaded" in await told(ann.slash("admin", what="release"))
        rules = await house.inner.usecases.moderation.describe("discord", str(ann.channel.guild.id))

    assert (rules.policy.value, rules.edit_others) == ("spoiler", True)


async def test_a_model_is_fetched_from_a_chat_and_those_who_wait_hear_how_far_it_is(
    data_dir: Path, server: Loopback, ann: Actor
) -> None:
    hub = FakeHub()
    async with opened(data_dir, server, with_models=(*MODELS, FOX), admins=(str(ann.person.id),)) as house:
        house.inner.usecases.choosing.downloads = hub
        house.start()
        await house.ready()
        terms = await told(ann.slash("admin", what="models", action="use", model="fox"))
        assert "Licence: fox-1.0" in terms
        assert "with the option accept" in terms
        hub.go_on.clear()
        assert "is being fetched" in await told(
            ann.slash("admin", what="models", action="use", model="fox", accept=True)
        )
        ann.slash("imagine", prompt="a knight", model="fox")
        waiting = await ann.posted()
        await until(lambda: "Downloading Fox XL, 40 %" in waiting.content, "how far it is")
        assert "You are 1st." in waiting.content

        hub.go_on.set()
        await ann.finished()
        assert "fox: text-to-image (default)" in await told(ann.slash("admin", what="models"))
