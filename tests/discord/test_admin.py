"""`/admin` on Discord: who may, and what it does."""

from pathlib import Path
from typing import Any

from tests.discord.app_fixture import MODELS, open_app
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_moderation import private_reply, run_app
from tests.model_manager_fixture import FOX, FakeBuilds, FakeHub


async def test_admins_list_models_and_choose_a_policy_and_others_do_not(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with run_app(data_dir, server) as app:
        refused = await private_reply(ann.slash("admin"))
    assert refused == "Only this bot's admins can do that."
    assert "paint" not in refused

    async with run_app(data_dir, server, admins=(str(ann.person.id),)) as app:
        assert "paint" in await private_reply(ann.slash("admin", what="models"))
        assert "behind a click" in await private_reply(
            ann.slash("admin", what="policy", action="spoiler", edit_others=True)
        )
        assert "There is no model" in await private_reply(
            ann.slash("admin", what="models", action="use", model="nothing")
        )
        assert "model" in await private_reply(ann.slash("admin", what="models", action="use"))
        assert "unloaded" in await private_reply(ann.slash("admin", what="unload"))
        rules = await app.application.usecases.moderation.space_rules("discord", str(ann.channel.guild.id))

    assert (rules.policy.value, rules.edit_others) == ("spoiler", True)


async def test_a_model_is_installed_from_a_chat_and_waiting_jobs_show_its_progress(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    hub = FakeHub()
    async with open_app(data_dir, server, with_models=(*MODELS, FOX), admins=(str(ann.person.id),)) as app:
        app.application.usecases.model_manager.downloads = hub
        app.start()
        await app.wait_until_ready()
        formats = {"weights": "fp8", "precision": "bfloat16"}
        terms = await private_reply(ann.slash("admin", what="models", action="use", model="fox", **formats))
        assert "Licence: fox-1.0" in terms
        assert "weights:fp8 precision:bfloat16 accept:True" in terms
        hub.go_on.clear()
        assert "Downloading and testing" in await private_reply(
            ann.slash("admin", what="models", action="use", model="fox", accept=True, **formats)
        )
        ann.slash("imagine", prompt="a knight", model="fox")
        waiting = await ann.posted()
        await until(lambda: "Downloading Fox XL: 40 %" in waiting.content, "how far it is")
        assert "You are 1st in the queue." in waiting.content

        hub.go_on.set()
        await ann.finished()
        assert "fox: text-to-image (default)" in await private_reply(ann.slash("admin", what="models"))
        fox = app.application.usecases.models.require("fox")
        assert (fox.quantize, fox.dtype) == ("fp8", "bfloat16")


async def test_a_model_is_compiled_from_a_chat_and_used_after_a_second_command(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    builds = FakeBuilds()
    async with open_app(data_dir, server, with_models=(*MODELS, FOX), admins=(str(ann.person.id),)) as app:
        app.application.usecases.optimizer.builds = builds
        app.start()
        await app.wait_until_ready()

        async def send(action: str = "", **options: Any) -> str:
            model = {"action": action, "model": "paint"} if action else {}
            return await private_reply(ann.slash("admin", what="models", **model, **options))

        builds.go_on.clear()
        assert "paint is being compiled for openvino" in await send("optimize")
        assert "paint is being compiled for openvino" in await send()
        builds.go_on.set()
        await until(lambda: builds.stored, "the build")
        assert "1.5 times as fast as torch" in await send()
        assert "paint runs on openvino" in await send("optimize", accept=True)
        assert app.application.usecases.models.require("paint").backend == "openvino"
        assert "paint runs on torch." in await send("torch")
