"""JPEGs whose headers cost more time than their size suggests are refused before Pillow reads them, in Python."""

import io

import pytest
from PIL import Image

from bot.errors import UnsupportedMedia
from inference.images.decode import sanitize
from inference.ipc.image_messages import SanitizeRequest

COMMENT = b"\xff\xfe\0\2"


def jpeg(inserted: bytes) -> SanitizeRequest:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "JPEG")
    data = file.getvalue()
    return SanitizeRequest(data=data[:2] + inserted + data[2:], max_pixels=1000)


@pytest.mark.parametrize(
    "inserted",
    [COMMENT * 2000, b"\xff" * 100_000, b"\xff\xd8" * 50_000, b"\xff\x00" * 50_000, b"\xff\xe1\0\x08Exif\0\0" * 2000],
    ids=["comments", "fill", "starts", "stuffed bytes", "EXIF"],
)
def test_a_jpeg_with_more_segments_than_any_program_writes_is_refused(inserted):
    with pytest.raises(UnsupportedMedia) as refused:
        sanitize(jpeg(inserted))

    assert refused.value.problem == "slow"


@pytest.mark.parametrize("inserted", [COMMENT * 900, b"\xff" * 1000, b"\xff\xfe\xff\xff" + b"\xff" * 65_533])
def test_many_segments_and_their_content_are_accepted(inserted):
    assert sanitize(jpeg(inserted)).width == 8
