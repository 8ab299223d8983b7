import pytest

from bot.errors import ImageGone, MediaNotFound, TooLarge
from bot.jobs import Media
from bot.ports import SanitizedImage
from bot.settings.core import ImagesSettings
from bot.usecases import MediaUseCases
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
    return MediaUseCases(store, pictures, ImagesSettings(max_upload_mb=1))


async def test_only_the_clean_picture_is_kept(usecases, store):
    picture = await usecases.upload(ANN, b"as it came")

    assert [media.data for media in store.files.values()] == [b"clean"]
    assert (picture.width, picture.height, picture.parameters) == (8, 4, {"prompt": "a fox"})


async def test_an_upload_of_the_maximum_size_is_accepted(usecases, pictures):
    await usecases.upload(ANN, b"x" * 2**20)

    assert len(pictures.sanitized) == 1


async def test_a_larger_one_is_refused_without_decoding(usecases, pictures):
    with pytest.raises(TooLarge) as refused:
        await usecases.upload(ANN, b"x" * (2**20 + 1))

    assert (refused.value.limit, refused.value.unit) == (1, "MiB")
    assert pictures.sanitized == []


async def test_a_picture_is_its_owners(usecases):
    picture = await usecases.upload(ANN, b"as it came")

    assert (await usecases.read_media(ANN, picture.id)).data == b"clean"
    assert (await usecases.get_image(ANN, picture.id)).id == picture.id


@pytest.mark.parametrize("look", ["read_media", "get_image"])
async def test_a_picture_of_somebody_else_is_not_found(usecases, look):
    picture = await usecases.upload(ANN, b"as it came")

    with pytest.raises(MediaNotFound):
        await getattr(usecases, look)(BOB, picture.id)


async def test_a_picture_that_fits_goes_as_rendered(usecases):
    fox = Media(b"a fox", "image/png")

    assert await usecases.fit_bytes(fox, 5) == (fox, False)


async def test_an_image_that_does_not_fit_is_made_smaller_and_reported_as_changed(usecases):
    made, is_changed = await usecases.fit_bytes(Media(b"a fox", "image/png"), 4)

    assert (made, is_changed) == (Media(b"a fo", "image/webp"), True)


async def test_one_picture_needs_no_sheet(usecases):
    one, other = Media(b"one", "image/png"), Media(b"other", "image/png")

    assert await usecases.contact_sheet([one]) is one
    assert (await usecases.contact_sheet([one, other])).data == b"one+other"


async def test_a_stored_image_can_get_another_owner(usecases):
    picture = await usecases.upload(ANN, b"as it came")
    shared = await usecases.share(BOB, picture.id)

    assert (await usecases.get_image(BOB, picture.id)).id == shared.id == picture.id
    with pytest.raises(ImageGone):
        await usecases.share(BOB, "0" * 64)


def test_adapters_learn_how_large_an_upload_may_be(usecases):
    assert usecases.max_upload_mb == 1
