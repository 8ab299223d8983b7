"""Masks that select nothing are found in the image worker, as the engine would find them."""

import io

import pytest
from PIL import Image, ImageDraw

from inference.images.mask_check import check_mask
from inference.images.mask_reading import REPAINTED, read_mask
from inference.ipc.mask_messages import MaskRequest


def png(image: Image.Image) -> bytes:
    made = io.BytesIO()
    image.save(made, "PNG")
    return made.getvalue()


def drawn(mode: str, ground: object, colour: object = None, *, part: float = 0.5) -> bytes:
    image = Image.new(mode, (32, 32), ground)  # type: ignore[arg-type]
    if colour is not None:
        ImageDraw.Draw(image).rectangle((4, 4, 4 + 24 * part, 4 + 24 * part), fill=colour)  # type: ignore[arg-type]
    return png(image)


CLEAR = (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("mask", "is_empty"),
    [
        (drawn("L", 0), True),
        (drawn("L", 100), True),
        (drawn("1", 0), True),
        (drawn("RGB", "black"), True),
        (drawn("RGBA", CLEAR), True),
        (drawn("RGBA", (255, 255, 255, 0)), True),
        (drawn("RGBA", (0, 0, 0, 255)), True),
        (drawn("LA", (255, 0)), True),
        (drawn("L", 0, 255), False),
        (drawn("L", 255), False),
        (drawn("RGBA", CLEAR, (0, 0, 0, 255)), False),
        (drawn("RGBA", CLEAR, (255, 0, 0, 255)), False),
        (drawn("RGBA", (255, 255, 255, 255), (0, 0, 0, 0)), False),
    ],
)
def test_a_mask_is_empty_where_the_engine_says_so(mask, is_empty):
    assert check_mask(MaskRequest(data=mask)).is_empty is is_empty
    assert (int(read_mask(mask).getextrema()[1]) < REPAINTED) is is_empty  # type: ignore[arg-type]


def test_a_mask_that_is_dark_but_not_empty_is_left_to_the_engine():
    faint = drawn("RGBA", CLEAR, (0, 0, 0, 200))

    assert not check_mask(MaskRequest(data=faint)).is_empty
