"""Masks from words: the training data have the right masks, and the training saves a model that loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training import train_segment
from training.colours import COLOURS
from training.evaluate_segment import RegionModel, held_out_masked
from training.phrases import PhraseWriter, phrase_words
from training.segment import NAME_INDEX, PATCH, SIDE, SPECIAL_TOKENS, build_segment_processor, mask_loss, patch_names
from training.segment_data import MaskDataset, MaskedScene, MaskSampler
from training.textures import HELD_OUT_TEXTURES, TEXTURES, TRAINING_TEXTURES, draw_texture
from training.world import SIZE, Thing

MODELS = Path(__file__).parents[2] / "models"
RED_STAR, BLUE_STAR, CAT = Thing("star", "red"), Thing("star", "blue"), Thing("cat")


@pytest.fixture
def scene() -> MaskedScene:
    """A red star at the left, a blue one in the middle and a cat at the right."""
    masks = np.zeros((3, SIZE, SIZE), dtype=np.float32)
    for number in range(3):
        masks[number, :, 40 * number : 40 * number + 32] = 1
    return MaskedScene((RED_STAR, BLUE_STAR, CAT), np.zeros((SIZE, SIZE, 3), dtype=np.uint8), masks)


def test_a_name_without_a_colour_means_things_of_every_colour(scene):
    assert (scene.mask_of(Thing("star")) == scene.masks[0] + scene.masks[1]).all()
    assert (scene.mask_of(BLUE_STAR) == scene.masks[1]).all()
    assert not scene.mask_of(Thing("star", "green")).any()
    assert (scene.subject == scene.masks.sum(axis=0)).all()


def test_patches_are_named_by_what_fills_them(scene):
    names = patch_names([scene])[0].reshape(SIDE // PATCH, SIDE // PATCH)[0].tolist()

    assert names[:2] == [NAME_INDEX["star"]] * 2
    assert names[4:6] == [NAME_INDEX["star"]] * 2
    assert names[8:10] == [NAME_INDEX["cat"]] * 2


def test_masks_cover_the_pixels_that_are_not_ground():
    sampler, rng = MaskSampler(textures=TRAINING_TEXTURES), np.random.default_rng(2)
    sampled = [sampler.sample_scene(rng) for _ in range(6)]

    assert all(((one.masks >= 0) & (one.masks.sum(axis=0) <= 1.001)).all() for one in sampled)
    assert all(one.masks.max(axis=(1, 2)).min() > 0.5 for one in sampled), "each thing is visible"


def test_phrases_and_masks_match_and_half_of_the_images_have_a_missing_thing():
    _, scenes, phrases, masks = MaskDataset(queries=4).sample_batch(np.random.default_rng(1), 3)

    assert len(phrases) == len(masks) == 4 * len(scenes)
    assert (masks[1::4] == 0).all(), "the second phrase of each image names something that is missing"
    assert (masks[::4].amax(dim=(1, 2)) > 0.5).all(), "the first one something that is there"


def test_every_word_of_a_phrase_is_in_the_vocabulary():
    writer, words = PhraseWriter(np.random.default_rng(4)), {*phrase_words(), "<unk>"}
    phrases = [
        writer.write_thing(thing) for thing in (RED_STAR, CAT, Thing("mouse"), Thing("glasses")) for _ in range(30)
    ]
    phrases += [writer.write_ground() for _ in range(20)] + [writer.write_subject() for _ in range(20)]

    assert {word for phrase in phrases for word in phrase.split()} <= words


def test_the_end_of_a_phrase_is_not_number_two():
    tokenizer = build_segment_processor().tokenizer

    ids = tokenizer("the red circle").input_ids
    assert ids[-1] == tokenizer.eos_token_id == SPECIAL_TOKENS.index("</s>") != 2
    assert tokenizer.unk_token_id not in ids


def test_a_correct_mask_has_almost_no_loss():
    masks = torch.zeros(2, 8, 8)
    masks[0, :4] = 1

    assert mask_loss(40 * masks - 20, masks) < 0.01 < mask_loss(20 - 40 * masks, masks)


@pytest.mark.parametrize("name", TEXTURES)
def test_a_texture_has_both_colours(name):
    ground = draw_texture(name, np.zeros(3), np.full(3, 200.0), np.random.default_rng(5))

    assert ground.shape == (SIZE, SIZE, 3)
    assert ground.min() < 40
    assert ground.max() > 140


def test_scenes_of_the_evaluation_are_not_in_the_training():
    evaluated = held_out_masked(3, 2, list(COLOURS), 1)

    assert not set(MaskSampler().textures) & set(HELD_OUT_TEXTURES)
    assert [one.things for one in evaluated] == [one.things for one in held_out_masked(3, 2, list(COLOURS), 1)]
    assert all(len(set(one.things)) == 2 for one in evaluated)


def test_a_quick_training_saves_a_model_that_finds_regions_and_resumes(tmp_path, scene):
    places = (tmp_path / "runs", tmp_path / "model", MODELS / "starter-image")
    seconds = train_segment.train_segment_model(train_segment.QUICK, *places)

    [mask] = RegionModel.from_folder(places[1]).find_regions([(scene, "the cat")])
    [same] = RegionModel.from_checkpoint(places[0] / "segment.pt").find_regions([(scene, "the cat")])

    assert mask.shape == same.shape == (SIZE, SIZE)
    assert (places[1] / "ARTWORK-NOTICE").exists()
    assert train_segment.train_segment_model(train_segment.QUICK, *places) == seconds, "nothing is left to train"
