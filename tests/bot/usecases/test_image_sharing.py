"""Pictures of jobs for further requests: whose they are, where they were posted, and what they are for."""

from dataclasses import replace

import pytest

from bot.commands import COMMANDS
from bot.commands.image_flags import ImageFlag, assign_images
from bot.errors import Blocked, ImageGone, JobNotFound, MediaNotFound
from bot.jobs import BY_BOT, ImageRef, JobState, Result, StoredImage
from bot.usecases.image_sharing import ImageSharing
from bot.usecases.job_images import images_of_job
from bot.usecases.requests import Request
from tests.bot.usecases.test_jobs import ANN, BOB, Harness, upload
from tests.fakes import make_job, make_origin

HERE = make_origin(platform="discord", space_id="guild", account_id="77", chat_id="5")
ELSEWHERE = make_origin(platform="discord", space_id="guild", account_id="77", chat_id="6")
STYLE = ImageFlag(name="style-of", role="reference", kind="style")


@pytest.fixture
def harness():
    return Harness()


@pytest.fixture
def sharing(harness):
    return ImageSharing(harness.store, harness.media)


async def finished(harness, command="imagine", pictures=1, **options):
    """A finished job of Ann's about a photo of somebody else's."""
    photo = await upload(harness, ANN, b"photo")
    made = [await upload(harness, ANN, b"made %d" % number) for number in range(pictures)]
    media = tuple(StoredImage(id=one.id, media_type="image/png", width=64, height=64) for one in made)
    job = make_job(
        owner=ANN.id, origin=HERE, command=command, options=options, images=(ImageRef(photo.id, author="99"),),
        state=JobState.DELIVERED, result=Result(media=media, seed=7),
    )  # fmt: skip
    harness.store.add(job)
    return job


def named(job, source=""):
    return [ImageFlag(name="style-of", role="reference", kind="style", source=source or job.id)]


async def test_an_own_job_is_named_by_its_id_and_a_picture_by_its_number(harness, sharing):
    job = await finished(harness, pictures=2)

    first = await sharing.find_named_images(ANN, HERE, named(job))
    second = await sharing.find_named_images(ANN, ELSEWHERE, [STYLE, *named(job, f"{job.id}/2")])

    assert first == {0: ImageRef(job.result.media[0].id, author=BY_BOT)}
    assert second == {1: ImageRef(job.result.media[1].id, author=BY_BOT)}
    assert (first[0].is_foreign, second[1].is_foreign) == (False, True)


async def test_a_job_of_somebody_else_and_a_picture_that_is_gone_are_refused(harness, sharing):
    job = await finished(harness)

    with pytest.raises(JobNotFound):
        await sharing.find_named_images(BOB, HERE, named(job, job.id))
    with pytest.raises(ImageGone):
        await sharing.find_named_images(ANN, HERE, named(job, f"{job.id}/2"))


async def test_who_can_see_a_message_may_use_its_picture_and_owns_it_then(harness, sharing):
    job = await finished(harness)

    [image] = await sharing.share_picture(BOB, job.id, ELSEWHERE)

    assert (image.author, image.is_foreign, image.role) == (BY_BOT, True, "init")
    assert (await harness.media.get_image(image.id, BOB.id)).id == image.id


@pytest.mark.parametrize("is_asked_for", [True, False])
async def test_what_is_made_of_a_hidden_picture_is_hidden(harness, sharing, is_asked_for):
    job = await finished(harness)
    if is_asked_for:
        job = replace(job, origin=replace(HERE, extra={"spoiler": True}))
    else:
        [image] = job.result.media
        job = replace(job, result=replace(job.result, media=(replace(image, is_spoiler=True),)))
    harness.store.add(job)
    own = (await sharing.find_named_images(ANN, HERE, named(job)))[0]
    shared = await sharing.share_picture(BOB, job.id, HERE)
    free = assign_images([], {}, shared, needed=1, allowed=1)

    for image in (replace(own, role="init"), *free):
        request = Request(origin=HERE, command="imagine", options={"prompt": "a fox"}, images=(image,))
        [ticket] = await harness.jobs.submit(ANN, request)
        assert ticket.job.is_spoiler


async def test_a_preview_is_a_ready_map_of_its_kind(harness, sharing):
    job = await finished(harness, "preview", what="control", kind="depth")

    [image] = await sharing.share_picture(ANN, job.id, HERE)
    found = await sharing.find_named_images(ANN, HERE, named(job))

    assert (image.kind, image.ready) == ("depth", True)
    assert (found[0].kind, found[0].ready) == ("depth", True)
    assert found[0].author == "99"


async def test_a_preview_of_a_region_is_the_mask_of_its_picture(harness, sharing):
    job = await finished(harness, "preview", what="region", region="the sky")

    plain = await sharing.share_picture(ANN, job.id, HERE)
    picture, mask = await sharing.share_picture(BOB, job.id, HERE, wants_mask=True)

    assert [image.role for image in plain] == ["init"]
    assert (picture.id, picture.role, picture.author) == (job.images[0].id, "init", "99")
    assert (mask.id, mask.role) == (job.result.media[0].id, "mask")
    assert (await harness.media.get_image(picture.id, BOB.id)).id == picture.id


@pytest.mark.parametrize("command", [name for name, kind in COMMANDS.items() if kind.keeps_author])
async def test_what_only_shows_a_picture_in_another_form_remains_its_authors(harness, command):
    assert images_of_job(await finished(harness, command))[0].author == "99"


async def test_a_picture_that_may_not_be_edited_is_not_shared(harness):
    async def refuse(_origin, images):
        assert [image.author for image in images] == ["99", "99"]
        raise Blocked("others")

    job = await finished(harness, "preview", what="region", region="the sky")
    with pytest.raises(Blocked):
        await ImageSharing(harness.store, harness.media, refuse).share_picture(BOB, job.id, HERE, wants_mask=True)

    with pytest.raises(MediaNotFound):
        await harness.media.get_image(job.images[0].id, BOB.id)
