"""The judge of an invented object agrees with what is drawn, and with nothing else."""

import json

import numpy as np
import pytest
from PIL import Image

from training.draw import render_scene
from training.world import Scene, Thing
from training.zorp import HELD_OUT_GROUNDS, Zorp, draw_zorp, judge_zorp, trained_zorps, unseen_zorps, write_folder


@pytest.mark.parametrize("zorp", unseen_zorps())
def test_a_drawn_zorp_is_right_in_everything(zorp):
    assert all(judge_zorp(np.asarray(draw_zorp(zorp)), zorp).values())


def test_other_colours_and_other_things_are_wrong():
    wanted = Zorp("red", "cyan")
    owl = render_scene(Scene((Thing("owl"),), "cyan"))

    assert not judge_zorp(np.asarray(draw_zorp(Zorp("blue", "cyan"))), wanted)["colour"]
    assert not judge_zorp(np.asarray(draw_zorp(Zorp("red", "orange"))), wanted)["background"]
    assert not any(judge_zorp(owl, wanted)[part] for part in ("silhouette", "eye"))


def test_the_training_folder_has_captions_and_none_of_the_held_out_backgrounds(tmp_path):
    folder = write_folder(tmp_path / "zorps")

    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert len({line["file_name"] for line in lines}) == 20
    assert not {zorp.ground for zorp in trained_zorps(20)} & set(HELD_OUT_GROUNDS)
    with Image.open(folder / lines[0]["file_name"]) as image:
        assert image.size == (128, 128)
