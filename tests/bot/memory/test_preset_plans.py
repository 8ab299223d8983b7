"""docs/models.md says what the planner does with each preset, in the order of the config."""

import re

from bot.memory.fit import recommend_presets
from bot.models import TEXT_TO_IMAGE
from scripts.preset_plans import CARDS_GIB, END, PAGE, START, image_presets, plan_table, write_table
from tests.bot.memory.test_fit import machine

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_table_of_plans_is_what_the_planner_says():
    table = TEXT.partition(START)[2].partition(END)[0]

    assert table == plan_table(image_presets()), "run python -m scripts.preset_plans"


def test_writing_the_table_again_changes_nothing(tmp_path):
    page = tmp_path / "models.md"
    page.write_text(TEXT, encoding="utf-8")

    write_table(page)

    assert page.read_text(encoding="utf-8") == TEXT


def test_the_list_of_presets_has_the_order_of_the_config():
    listed = re.findall(r"^\| `([\w-]+)` \|", TEXT.partition(START)[0], re.MULTILINE)
    names = [spec.name for spec in image_presets()]

    assert [name for name in listed if name in names] == names


def test_what_is_recommended_comes_first_of_what_fits_and_is_never_group_offloaded():
    presets = [spec for spec in image_presets() if TEXT_TO_IMAGE in spec.tasks]
    rows = {line.split("`")[1]: line for line in plan_table(presets).splitlines()[2:]}
    for size in CARDS_GIB:
        name = recommend_presets(presets, machine(size, 64))["image"]
        assert name is not None
        cell = rows[name].split("|")[2 + CARDS_GIB.index(size)]

        assert not cell.strip().startswith(("group offload", "no"))
    assert recommend_presets(reversed(presets), machine(24, 64))["image"] == "sd15-lcm"
