"""Pictures with an alpha channel, such as cutouts, are sent as files: Telegram's photos have none."""

import io

import pytest
from PIL import Image

from bot.jobs import Media
from bot.ports.images import has_transparency

pytestmark = pytest.mark.asyncio(loop_scope="module")


def encode(mode: str, kind: str) -> Media:
    out = io.BytesIO()
    Image.new(mode, (16, 12)).save(out, kind)
    return Media(out.getvalue(), f"image/{kind.lower()}")


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        *(("RGB", "PNG", False), ("L", "PNG", False), ("RGBA", "PNG", True), ("LA", "PNG", True)),
        *(("RGB", "WEBP", False), ("RGBA", "WEBP", True), ("RGB", "JPEG", False)),
    ],
)
async def test_transparency_is_known_by_the_header(mode, kind, expected):
    assert has_transparency(encode(mode, kind)) is expected


async def test_a_transparent_picture_comes_as_a_file_that_keeps_its_transparency(app, chat, ann):
    document = app.state.document(encode("RGBA", "PNG").data, "fox.png", "image/png")
    app.state.send_message(chat, ann, document=document, caption="/upscale --method resize")

    made = await app.until(lambda: next((one for one in app.state.bot_messages(chat) if "document" in one), None))

    sent = Image.open(io.BytesIO(app.state.files[made["document"]["file_id"]]))
    assert sent.mode == "RGBA"
    assert "photo" not in made
