"""After `/privacy forget` in a chat, no byte of the person is left in the data directory, logs included."""

import logging
import re

import pytest

from bot.runtime.logs import LogsSettings, set_up_logging
from storage import purge
from tests.erased_bytes import files_with
from tests.telegram.easel_fixture import text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRETS = re.compile(rb"zebrafield|zebraname|zebrasetting|zebrasearch|zebraasked")


@pytest.fixture
def log_file(tmp_path):
    """The server's own log, next to the handlers of the test."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    set_up_logging(LogsSettings(), data_dir=tmp_path, console=None)
    yield tmp_path / "logs" / "easel.log"
    for handler in [one for one in root.handlers if one not in before[0]]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[1])


async def test_a_forgotten_person_leaves_no_byte(log_file, own_app, tmp_path, monkeypatch):
    monkeypatch.setattr(purge, "CHECK_S", 0.05)
    monkeypatch.setattr(purge, "SETTLE_S", 0.05)
    own = own_app.storage.maintenance._purge
    async with own.running():
        app, ann = own_app, own_app.state.person("zebraname", id=7_711_771_177)
        chat = app.state.private(ann)
        await app.open()
        app.pool.go_on.set()
        for text in ("/settings negative_prompt zebrasetting", "/imagine a zebrafield", "/history zebrasearch"):
            app.state.send_message(chat, ann, text)
            await app.wait_until_idle(0.1)
        await app.finished_picture(chat, 2)
        app.state.album(chat, ann, [picture(1, 40, 40), picture(2, 40, 40)], "/caption")
        await app.until(lambda: any("2. a picture" in text_of(one) for one in app.state.bot_messages(chat)))
        jobs, _ = await app.storage.history.list_jobs(
            (await app.storage.people.identify_account("telegram", "7711771177", "zebraname")).id,
            state=None, q="", before=None, limit=9,
        )  # fmt: skip
        before = files_with(tmp_path, SECRETS)
        pictures = "|".join(image.id for job in jobs for image in (*job.images, *job.result.media)).encode()
        app.state.send_message(chat, ann, "/privacy forget --confirm")

        personal = SECRETS.pattern + rb"|7711771177|" + pictures
        await app.until(lambda: not files_with(tmp_path, personal))
    assert pictures
    assert before
    assert log_file.stat().st_size
