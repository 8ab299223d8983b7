"""What the benchmarks are built from, without models: streams, statistics, rows, table and plot."""

import asyncio
import json
from collections import Counter
from xml.etree import ElementTree

import pytest

from benchmarks import figures, report, workload
from benchmarks.figures import Row, compare
from benchmarks.stream import PNG, Seen, play


def test_the_mix_has_its_exact_shares_in_an_order_of_its_own():
    wishes = workload.chat(40, seed=1, size=128)

    assert Counter(wish.steps for wish in wishes) == {4: 20, 8: 6, 20: 14}
    assert wishes == workload.chat(40, seed=1, size=128)
    assert [w.steps for w in wishes] != [w.steps for w in workload.chat(40, seed=2, size=128)]


@pytest.mark.parametrize("number", [1, 3, 7, 24])
def test_a_mix_has_as_many_wishes_as_were_asked_for(number):
    assert len(workload.chat(number, seed=1, size=128)) == number
    assert len(workload.all_different(number, seed=1, size=128)) == number


def test_no_two_of_the_first_wishes_that_are_all_different_fit_one_call():
    wishes = workload.all_different(17, seed=1, size=128)

    assert len({(wish.steps, wish.guidance) for wish in wishes}) == 17


def test_arrivals_come_at_the_rate_asked_for_and_twice_the_rate_is_the_same_pattern():
    wishes = workload.chat(2000, seed=1, size=128)
    slow, quick = (workload.poisson(wishes, per_s, seed=3) for per_s in (2.0, 4.0))

    assert slow[-1].at_s == pytest.approx(1000, rel=0.1)
    assert [wish.at_s for wish in quick] == pytest.approx([wish.at_s / 2 for wish in slow])


def test_more_is_better_or_less_is_better():
    assert compare("pictures a second", 3.0, 2.0, "lock", more_is_better=True).ratio == 1.5
    assert compare("seconds", 3.0, 2.0, "lock").ratio == 0.67


def test_where_we_lose_or_miss_a_goal_is_said():
    rows = [compare("seconds", 3.0, 2.0, "lock", goal=2.0), compare("others, seconds", 1.0, 2.0, "lock", goal=2.0)]

    lost, met = figures.told(figures.record(rows)).splitlines()[1:]

    assert "missed" in lost
    assert "WE LOSE" in lost
    assert "met" in met
    assert "LOSE" not in met


def test_percentiles_are_values_that_were_measured():
    assert figures.percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert figures.percentile([3.0, 1.0, 2.0], 0.95) == 3.0


def test_the_median_of_each_figure_is_taken_over_all_runs():
    assert figures.medians([{"a": 1.0, "b": 9.0}, {"a": 2.0, "b": 5.0}, {"a": 9.0, "b": 7.0}]) == {"a": 2.0, "b": 7.0}


class Slow:
    """Shows a preview at once and a picture after `seconds`."""

    name = "slow"

    def __init__(self, file: bytes = PNG) -> None:
        self._file = file

    async def make(self, wish):
        yield Seen(b"jpeg", is_picture=False)
        await asyncio.sleep(0.02)
        yield Seen(self._file, is_picture=True)


async def test_a_stream_notes_what_people_see_first_and_last():
    played = await play(Slow(), workload.poisson(workload.chat(4, seed=1, size=8), 1000.0, seed=1))

    assert len(played.outcomes) == 4
    assert all(outcome.done_s - outcome.first_s >= 0.015 for outcome in played.outcomes)
    assert played.per_s == pytest.approx(4 / played.seconds)


async def test_a_side_that_gives_no_picture_ends_the_benchmark():
    with pytest.raises(ExceptionGroup) as failed:
        await play(Slow(file=b""), workload.chat(1, seed=1, size=8))

    assert failed.group_contains(RuntimeError, match="gave no picture")


def test_the_table_and_the_plot_hold_every_comparison_and_mark_the_lost_ones(tmp_path):
    rows = [compare("seconds", 3.0, 2.0, "lock", goal=2.0), compare("a second", 4.0, 2.0, "lock", more_is_better=True)]
    record = {"name": "short_job_tail", "figures": figures.record(rows)}
    (tmp_path / "short_job_tail.json").write_text(json.dumps(record))
    (tmp_path / "older.json").write_text(json.dumps({"name": "older", "figures": {"ratio": 2}}))

    report.write(tmp_path)

    table = (tmp_path / "README.md").read_text()
    assert "| **short-job-tail** | **seconds** | **3** | **lock** | **2** | **0.67** | **2: missed** |" in table
    assert "| short-job-tail | a second | 4 | lock | 2 | 2 |  |" in table
    assert ElementTree.parse(tmp_path / "ratios.svg").getroot().tag.endswith("svg")
    assert report.read(tmp_path) == {"short-job-tail": rows}


def test_a_row_survives_its_record():
    row = compare("seconds", 1.0, 2.0, "lock", goal=1.5)

    assert Row(**json.loads(json.dumps(figures.record([row])))["rows"][0]) == row
