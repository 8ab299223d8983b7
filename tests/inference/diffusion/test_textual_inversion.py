"""Trigger words in prompts, by every way to write them."""

import pytest
import torch

from inference.diffusion.textual_inversion import split_at_trigger_words

VECTORS = {"toy": {4: torch.ones(1, 4)}, "bad v1.5": {4: torch.ones(2, 4)}, "wide": {8: torch.ones(1, 8)}}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a toy, red", ["a ", 1, ", red"]),
        ("Embedding:TOY.safetensors, red", [1, ", red"]),
        ("embedding:toy.pt", [1]),
        ("embedding:bad v1.5 toy", [2, " ", 1]),
        ("toys, a-toy and embedding:toys", ["toys, a-toy and embedding:toys"]),
        ("toy.png embedding:wide", [1, ".png embedding:wide"]),
    ],
)
def test_trigger_words_become_vectors_and_the_rest_is_text(text, pieces):
    found = split_at_trigger_words(text, VECTORS, 4)

    assert [piece if isinstance(piece, str) else len(piece) for piece in found] == pieces
