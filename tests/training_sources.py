"""Checks that nothing of a person's chats enters training, whatever they do with it on the page."""

import pytest
from sqlalchemy import insert, select

from bot.errors import InvalidOption
from bot.jobs import ImageRef, Job, Origin
from bot.ports import Person
from bot.usecases import Request
from composition.application import Application
from storage.learning_tables import consent
from storage.schema import media_owner, utcnow
from tests.web.fake_pool import picture


async def ask_on_the_page(application: Application, person: Person, image: str) -> None:
    origin = Origin(platform="web", space_id="web", account_id=person.id)
    request = Request(origin=origin, command="caption", images=(ImageRef(image),))
    [ticket] = await application.usecases.jobs.submit(person, request)
    await application.usecases.jobs.wait_for_job(person, ticket.job.id)


async def list_answered(application: Application, person: Person) -> list[Job]:
    """Everything of the person that could be corrected."""
    tickets, _ = await application.usecases.jobs.list_tickets(person, limit=100)
    jobs = [ticket.job for ticket in tickets]
    return [job for job in jobs if job.command in ("caption", "ask") and job.result and len(job.images) == 1]


async def assert_nothing_enters_training(application: Application, person: Person) -> set[str]:
    """Neither what was asked in a chat nor what is asked on the page about any image from there, with consent that was
    taken by mistake; a photo of the page does. Returns the platforms of the images."""
    corrections, database = application.usecases.corrections, application.storage.jobs._database
    owned = select(media_owner.c.media, media_owner.c.source).where(media_owner.c.owner == person.id)
    images = await database.run_read(lambda tx: [tuple(row) for row in tx.execute(owned)])
    for image, _ in images:
        await ask_on_the_page(application, person, image)
    jobs = await list_answered(application, person)
    for job in jobs:
        with pytest.raises(InvalidOption, match="consent_source"):
            await corrections.correct(person, job.id, "a lynx", consent=True)
        saved, _ = await corrections.correct(person, job.id, "a lynx", consent=False)
        row = {"correction": saved.id, "person": person.id, "given_at": utcnow()}
        await database.run_write(lambda tx, row=row: tx.execute(insert(consent), row))  # type: ignore[misc]
    photo = await application.usecases.media.upload(person, picture(77, 40, 40), source="web")
    await ask_on_the_page(application, person, photo.id)
    own = next(job for job in await list_answered(application, person) if job.images[0].id == photo.id)
    await corrections.correct(person, own.id, "a wild cat", consent=True)

    assert len(jobs) > len(images) > 0
    assert [one.job for one in await corrections.corrections.list_consented()] == [own.id]
    return {source for _, source in images}
