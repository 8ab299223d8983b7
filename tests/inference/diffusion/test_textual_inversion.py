"""Trigger words in prompts, by every way to write them."""

import pytest
import torch
from safetensors.torch import save_file

from inference.checkpoints.identify import identify_path
from inference.diffusion.textual_inversion import load_vectors, split_at_trigger_words

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


@pytest.mark.parametrize(
    ("shapes", "family", "counts"),
    [
        ({"emb_params": (3, 768), "other": (2, 768), "step": (1,)}, "sd15", {768: 3}),
        ({"clip_l": (2, 768), "clip_g": (3, 1280), "t5xxl": (2, 4096)}, "sdxl", {768: 2, 1280: 3}),
        ({"<cat-toy>": (768,)}, "sd15", {768: 1}),
    ],
)
def test_only_the_vectors_of_an_inversion_are_loaded(tmp_path, shapes, family, counts):
    path = tmp_path / "x.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)

    info = identify_path(path)

    assert (info.kind, info.family, info.reason) == ("inversion", family, "")
    assert {width: len(vectors) for width, vectors in load_vectors(path).items()} == counts


def test_a_part_of_the_wrong_width_is_told(tmp_path):
    save_file({"clip_l": torch.zeros(2, 700), "clip_g": torch.zeros(2, 1280)}, tmp_path / "x.safetensors")

    assert "clip_l is not 768 wide" in identify_path(tmp_path / "x.safetensors").reason
