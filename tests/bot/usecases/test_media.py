import asyncio
import secrets
from datetime import UTC, datetime

import pytest
import time_machine

from bot.error_texts import explain
from bot.errors import ImageGone, MediaNotFound, TooLarge, UploadQuotaExceeded
from bot.jobs import Media
from bot.ports import SanitizedImage
from bot.settings.core import ImagesSettings, QuotaSettings
from bot.usecases import MediaUseCases
from bot.usecases.media import Adjustment
from tests.fakes import FakeImageProcessor, FakeMediaStore, make_person

CLEAN = SanitizedImage(media=Media(b"clean", "image/png"), width=8, height=4, parameters={"prompt": "a fox"})
ANN, BOB = make_person(), make_person(id="bob")


@pytest.fixture
def store():
    return FakeMediaStore()


@pytest.fixture
def pictures():
    return FakeImageProcessor(CLEAN)


@pytest.fixture
def usecases(store, pictures):
    return MediaUseCases(store, pictures, ImagesSettings(max_upload_mb=1), QuotaSettings())


async def test_only_the_clean_picture_is_kept(usecases, store):
    picture = await usecases.upload(ANN, b"as it came", source="web")

    assert [media.data for media in store.files.values()] == [b"clean"]
    assert (picture.width, picture.height, picture.parameters) == (8, 4, {"prompt": "a fox"})


async def test_an_upload_may_be_adjusted_before_it_is_stored(usecases, store):
    picture = await usecases.upload(ANN, b"as it came", source="web", adjustment=Adjustment(tool="flip", values={}))

    assert [media.data for media in store.files.values()] == [b"clean, flip"]
    assert (picture.width, picture.height) == (8, 8)


async def test_a_file_is_inspected_without_being_kept(usecases, store):
    assert await usecases.inspect(ANN, b"as it came") == CLEAN
    assert not store.files


async def test_an_upload_of_the_maximum_size_is_accepted(usecases, pictures):
    await usecases.upload(ANN, b"x" * 2**20, source="web")

    assert len(pictures.sanitized) == 1


async def test_an_upload_is_decoded_in_its_owners_name(usecases, pictures):
    await usecases.upload(ANN, b"as it came", source="web")
    await usecases.upload(BOB, b"as it came", source="web")

    assert pictures.owners == [ANN.id, BOB.id]


async def test_a_larger_one_is_refused_without_decoding(usecases, pictures):
    with pytest.raises(TooLarge) as refused:
        await usecases.upload(ANN, b"x" * (2**20 + 1), source="web")

    assert (refused.value.limit, refused.value.unit) == (1, "MiB")
    assert pictures.sanitized == []


async def test_a_picture_is_its_owners(usecases):
    picture = await usecases.upload(ANN, b"as it came", source="web")

    assert (await usecases.read_media(ANN, picture.id)).data == b"clean"
    assert (await usecases.get_image(ANN, picture.id)).id == picture.id


@pytest.mark.parametrize("look", ["read_media", "get_image", "stream_media"])
async def test_a_picture_of_somebody_else_is_not_found(usecases, look):
    picture = await usecases.upload(ANN, b"as it came", source="web")

    with pytest.raises(MediaNotFound):
        await getattr(usecases, look)(BOB, picture.id)


async def test_a_picture_that_fits_goes_as_rendered(usecases):
    fox = Media(b"a fox", "image/png")

    assert await usecases.fit_bytes(fox, 5) == (fox, False)


async def test_an_image_that_does_not_fit_is_made_smaller_and_reported_as_changed(usecases):
    made, is_changed = await usecases.fit_bytes(Media(b"a fox", "image/png"), 4)

    assert (made, is_changed) == (Media(b"a fo", "image/webp"), True)


async def test_an_image_is_only_encoded_anew_for_another_format_or_quality(usecases):
    fox = Media(b"a fox", "image/png")

    assert await usecases.convert(fox, "png") == fox
    assert (await usecases.convert(fox, "webp", 80)).media_type == "image/webp"


def as_png(media):
    """With a size in its header."""
    return Media(b"\x89PNG....1234IHDR" + b"\0\0\0\x09" * 2 + media.data, media.media_type)


async def test_one_picture_needs_no_sheet(usecases):
    one, other = Media(b"one", "image/png"), Media(b"other", "image/png")

    assert await usecases.contact_sheet([one]) is one
    assert (await usecases.contact_sheet([as_png(one), as_png(other)])).data == as_png(one).data + b"+" + as_png(
        other
    ).data


async def test_pictures_whose_size_is_not_known_are_scaled_down_for_a_sheet_where_they_are_drawn(usecases):
    jpeg = Media(b"a large sheet", "image/jpeg")

    assert (await usecases.contact_sheet([jpeg, jpeg])).data.count(b"a large sheet, fit_picture") == 2


async def test_a_stored_image_can_get_another_owner(usecases):
    picture = await usecases.upload(ANN, b"as it came", source="web")
    shared = await usecases.share(BOB, picture.id, source="discord")

    assert (await usecases.get_image(BOB, picture.id)).id == shared.id == picture.id
    with pytest.raises(ImageGone):
        await usecases.share(BOB, "0" * 64, source="discord")


def test_adapters_learn_how_large_an_upload_may_be(usecases):
    assert usecases.max_upload_mb == 1


# ---------------------------------------------------------------- allowance


def with_allowance(store, pictures, daily_upload_mb):
    return MediaUseCases(store, pictures, ImagesSettings(), QuotaSettings(daily_upload_mb=daily_upload_mb))


def make_clean(size: int) -> SanitizedImage:
    return SanitizedImage(media=Media(secrets.token_bytes(size), "image/png"), width=8, height=4, parameters=None)


@pytest.mark.parametrize(
    ("daily_mb", "spare", "limit"),
    [(1.0, 2**40, 2**20), (0.0, 2**20, 2**19), (1.0, 2**20, 2**19)],
    ids=["by the setting", "half of the disk", "whichever is less"],
)
async def test_uploads_of_a_day_have_a_limit(store, pictures, daily_mb, spare, limit):
    usecases = with_allowance(store, pictures, daily_mb)
    store.spare = spare
    pictures.clean = make_clean(limit)
    with time_machine.travel(datetime(2026, 1, 2, 12, tzinfo=UTC), tick=False):
        await usecases.upload(ANN, b"as it came", source="web")
        store.spare = spare - limit
        with pytest.raises(UploadQuotaExceeded) as refused:
            await usecases.upload(ANN, b"as it came", source="web")

    assert (refused.value.limit_mb, refused.value.used_mb) == (limit / 2**20, limit / 2**20)
    assert len(pictures.sanitized) == 1, "the second one was refused before it was decoded"


async def test_what_counts_is_the_size_of_the_stored_picture(store, pictures):
    pictures.clean = make_clean(2**20 + 1)
    with pytest.raises(UploadQuotaExceeded):
        await with_allowance(store, pictures, 1.0).upload(ANN, b"a few bytes", source="web")

    assert store.files == {}


async def test_concurrent_uploads_add_up(store, pictures):
    usecases = with_allowance(store, pictures, 1.0)
    pictures.clean = make_clean(2**19)
    sanitize = pictures.sanitize

    async def sanitize_another(data, *, owner):
        pictures.clean = make_clean(2**19)
        return await sanitize(data, owner=owner)

    pictures.sanitize = sanitize_another
    outcomes = await asyncio.gather(
        *(usecases.upload(ANN, b"x", source="web") for _ in range(5)), return_exceptions=True
    )
    others = await usecases.upload(BOB, b"x", source="web")

    assert sorted(type(one).__name__ for one in outcomes) == ["StoredImage"] * 2 + ["UploadQuotaExceeded"] * 3
    assert others.size == 2**19


async def test_the_owner_of_the_disk_may_fill_it(store, pictures):
    store.spare = 0
    pictures.clean = make_clean(2**20)

    assert await with_allowance(store, pictures, 0.001).upload(make_person(is_local=True), b"as it came", source="web")


async def test_the_sentence_says_how_much_and_until_when():
    error = UploadQuotaExceeded(limit_mb=1024.0, used_mb=1020.3, retry_after_s=3601)

    assert explain(error) == (
        "Your pictures of the last 24 hours use 1020 of 1024 MiB, so this one was not stored. "
        "Send a smaller one, or try again in 2 h."
    )
