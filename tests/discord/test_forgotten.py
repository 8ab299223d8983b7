"""After `/privacy forget` in a private chat, no byte of the person is left in the data directory."""

import re
from pathlib import Path

import pytest

from storage import purge
from tests.discord.app_fixture import DiscordApp
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.erased_bytes import files_with
from tests.web.fake_pool import picture


async def test_a_forgotten_person_leaves_no_byte(
    app: DiscordApp, server: Loopback, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "CHECK_S", 0.05)
    monkeypatch.setattr(purge, "SETTLE_S", 0.05)
    person = server.state.person("zebraname")
    ann = SimulatedUser(server, person, server.state.dm(person))
    async with app.storage.maintenance._purge.running():
        await ann.private_reply(ann.slash("settings", option="negative_prompt", value="zebrasetting"))
        made = ann.slash("imagine", prompt="a zebrafield")
        photo = server.state.file("zebraphoto.png", picture(3, 40, 40))
        await ann.finished(1)
        ann.slash("imagine", prompt="a zebrapainting", image=photo)
        await ann.finished(2)
        ann.write_message("zebraquestion, what is it?", photo)
        await ann.finished(3)
        await ann.private_reply(ann.slash("history", search="zebrasearch"))
        personal = re.compile(rb"zebra|%d|%d|%s" % (ann.person.id, ann.channel.id, made.token.encode()))
        before = files_with(data_dir, personal)
        assert "deleted" in await ann.private_reply(ann.slash("privacy", what="forget", confirm=True))
        await until(lambda: not files_with(data_dir, personal), "no byte")
    assert before
    assert [path for path in (data_dir / "media").rglob("*") if path.is_file()] == []
