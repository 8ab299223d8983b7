"""`/admin` on Discord: who may, and what it does."""

from pathlib import Path

from tests.discord.loopback.server import Loopback
from tests.discord.people import Actor
from tests.discord.test_moderation import living, told


async def test_admins_list_models_and_choose_a_policy_and_others_do_not(
    data_dir: Path, server: Loopback, ann: Actor
) -> None:
    async with living(data_dir, server) as house:
        refused = await told(ann.slash("admin"))
    assert refused == "Only an admin of this house may do that."
    assert "paint" not in refused

    async with living(data_dir, server, admins=(str(ann.person.id),)) as house:
        assert "paint" in await told(ann.slash("admin", what="models"))
        assert "behind a click" in await told(ann.slash("admin", what="policy", action="spoiler", edit_others=True))
        assert "There is no model" in await told(ann.slash("admin", what="models", action="use", model="nothing"))
        assert "name is missing" in await told(ann.slash("admin", what="models", action="use"))
        assert "unloaded" in await told(ann.slash("admin", what="release"))
        rules = await house.inner.usecases.moderation.describe("discord", str(ann.channel.guild.id))

    assert (rules.policy.value, rules.edit_others) == ("spoiler", True)
