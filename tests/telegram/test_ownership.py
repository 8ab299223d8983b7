"""Pictures are read through their use case, which checks their owner."""

import pytest
from sqlalchemy import delete, select

from storage.schema import media_owner
from tests.telegram.easel_fixture import text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_show_does_not_read_a_picture_that_is_no_longer_the_persons(app, chat, ann, bob):
    await app.imagine_and_wait(chat, ann, "a red fox")
    usecases, storage = app.application.usecases, app.application.storage
    owner, other = [
        await usecases.people.identify_account("telegram", str(one["id"]), name)
        for one, name in ((ann, "Ann"), (bob, "Bob"))
    ]
    [ticket], _ = await usecases.jobs.list_tickets(owner, limit=1)
    media_id = ticket.job.result.media[0].id
    await storage.media.share(media_id, other.id)
    is_anns = (media_owner.c.media == media_id, media_owner.c.owner == owner.id)
    await storage.media._database.run_write(lambda tx: tx.execute(delete(media_owner).where(*is_anns)).rowcount)

    app.state.send_message(chat, ann, f"/show {ticket.job.id}")

    assert "Its picture has been deleted." in text_of(await app.bot_message(chat, 2))
    assert (await storage.media.read_media(media_id, other.id)).data


async def test_photos_and_results_of_a_chat_are_known_to_come_from_it(app, chat, ann):
    app.state.send_photo(chat, ann, picture(5, 48, 32), "/imagine a fox --strength 0.5")
    await app.finished_picture(chat)
    person = await app.application.usecases.people.identify_account("telegram", str(ann["id"]), "Ann")
    of_person = select(media_owner.c.source).where(media_owner.c.owner == person.id)
    sources = await app.storage.media._database.run_read(lambda tx: tx.scalars(of_person).all())

    assert sources == ["telegram", "telegram"]
