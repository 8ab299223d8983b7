"""Sentences about images name files: nothing is attached to a command line."""

import pytest

from adapters.cli.error_output import error_sentences
from bot.commands import Blend, Cutout, Imagine
from bot.errors import InvalidOption
from bot.jobs import ImageRef


@pytest.mark.parametrize(
    ("command", "values", "images", "sentence"),
    [
        (Cutout, {}, (), "This needs an image: name its file."),
        (Blend, {}, (ImageRef("a", "reference"),), "This needs 2 images or more: name their files."),
        (
            Imagine,
            {"prompt": "a fox"},
            (ImageRef("a", "mask"),),
            "mask only works with an input image: add --image FILE, or leave mask out.",
        ),
    ],
)
def test_a_missing_image_is_asked_for_as_a_file(command, values, images, sentence):
    with pytest.raises(InvalidOption) as refused:
        command.from_options(values, images)

    assert error_sentences(refused.value) == [sentence]
