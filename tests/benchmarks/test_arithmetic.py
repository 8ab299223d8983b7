"""The building blocks of the benchmarks, without models: streams, statistics, comparisons, table and plot."""

import asyncio
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from xml.etree import ElementTree

import pytest

from benchmarks import compute_threads, figures, report, workload
from benchmarks.compute_threads import merge_figures, thread_counts
from benchmarks.figures import Comparison, compare
from benchmarks.locked_tokenizer import LockedTokenizer
from benchmarks.peers import PEERS, chosen_peers
from benchmarks.stream import PNG_SIGNATURE, Output, meets_deadline, run_stream


def test_the_mix_has_its_exact_shares_in_random_order():
    requests = workload.chat_mix(40, seed=1, size=128)

    assert Counter(request.steps for request in requests) == {4: 20, 8: 6, 20: 14}
    assert requests == workload.chat_mix(40, seed=1, size=128)
    assert [w.steps for w in requests] != [w.steps for w in workload.chat_mix(40, seed=2, size=128)]


@pytest.mark.parametrize("number", [1, 3, 7, 24])
def test_a_mix_has_the_requested_number_of_requests(number):
    assert len(workload.chat_mix(number, seed=1, size=128)) == number
    assert len(workload.all_different(number, seed=1, size=128)) == number


def test_the_first_requests_that_are_all_different_cannot_share_a_call():
    requests = workload.all_different(17, seed=1, size=128)

    assert len({(request.steps, request.guidance) for request in requests}) == 17


def test_arrivals_have_the_requested_rate_and_twice_the_rate_is_the_same_pattern():
    requests = workload.chat_mix(2000, seed=1, size=128)
    slow, quick = (workload.with_poisson_arrivals(requests, per_s, seed=3) for per_s in (2.0, 4.0))

    assert slow[-1].at_s == pytest.approx(1000, rel=0.1)
    assert [request.at_s for request in quick] == pytest.approx([request.at_s / 2 for request in slow])


def test_the_ratio_favours_more_or_less():
    assert compare("images per second", 3.0, 2.0, "lock", more_is_better=True).ratio == 1.5
    assert compare("seconds", 3.0, 2.0, "lock").ratio == 0.67


def test_the_summary_states_where_we_lose_or_miss_a_goal():
    rows = [compare("seconds", 3.0, 2.0, "lock", goal=2.0), compare("others, seconds", 1.0, 2.0, "lock", goal=2.0)]

    lost, met = figures.summarize_rows(figures.record(rows)).splitlines()[1:]

    assert "missed" in lost
    assert "WE LOSE" in lost
    assert "met" in met
    assert "LOSE" not in met


def test_percentiles_are_measured_values():
    assert figures.percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert figures.percentile([3.0, 1.0, 2.0], 0.95) == 3.0


def test_the_median_of_each_figure_is_taken_over_all_runs():
    assert figures.medians([{"a": 1.0, "b": 9.0}, {"a": 2.0, "b": 5.0}, {"a": 9.0, "b": 7.0}]) == {"a": 2.0, "b": 7.0}


class SlowContender:
    """Yields a preview immediately and the image after 20 ms."""

    name = "slow"

    def __init__(self, file: bytes = PNG_SIGNATURE) -> None:
        self._file = file
        self.requests = 0

    async def generate(self, request):
        self.requests += 1
        yield Output(b"jpeg", is_final=False)
        await asyncio.sleep(0.02)
        yield Output(self._file, is_final=True)


async def test_a_stream_records_the_first_and_the_final_output():
    result = await run_stream(
        SlowContender(), workload.with_poisson_arrivals(workload.chat_mix(4, seed=1, size=8), 1000.0, seed=1)
    )

    assert len(result.outcomes) == 4
    assert all(outcome.total_s - outcome.first_output_s >= 0.015 for outcome in result.outcomes)
    assert result.images_per_s == pytest.approx(4 / result.seconds)


async def test_no_more_requests_are_sent_once_too_many_are_late():
    requests = workload.with_poisson_arrivals(workload.chat_mix(40, seed=1, size=8), 400.0, seed=1)
    slow, quick = SlowContender(), SlowContender()

    assert not await meets_deadline(slow, requests, deadline_s=0.0, share=0.95)
    assert await meets_deadline(quick, requests, deadline_s=60.0, share=0.95)

    assert slow.requests < quick.requests == 40


def test_a_benchmark_runs_against_the_chosen_peers_and_always_the_lock():
    names = [peer.name for peer in chosen_peers("threads, litserve")]

    assert chosen_peers("") == list(PEERS)
    assert names == ["lock", "threads", "LitServe", "LitServe, batches of 8"]
    assert [peer.name for peer in chosen_peers("threads")] == ["lock", "threads"]


async def test_a_contender_that_returns_no_image_ends_the_benchmark():
    with pytest.raises(ExceptionGroup) as failed:
        await run_stream(SlowContender(file=b""), workload.chat_mix(1, seed=1, size=8))

    assert failed.group_contains(RuntimeError, match="returned no image")


def test_the_table_and_the_plot_contain_every_comparison_and_mark_the_lost_ones(tmp_path):
    lost = replace(compare("seconds", 3.0, 2.0, "lock", goal=2.0), threads=2)
    rows = [lost, compare("a second", 4.0, 2.0, "lock", more_is_better=True)]
    record = {"name": "short_job_tail", "figures": figures.record(rows)}
    (tmp_path / "short_job_tail.json").write_text(json.dumps(record))
    (tmp_path / "older.json").write_text(json.dumps({"name": "older", "figures": {"ratio": 2}}))

    report.write_report(tmp_path)

    assert version("pytest")  # pygal's import hook is removed, and no other
    table = (tmp_path / "README.md").read_text()
    assert "| **short-job-tail** | **seconds** | **2** | **3** | **lock** | **2** | **0.67** | **2: missed** |" in table
    assert "| short-job-tail | a second |  | 4 | lock | 2 | 2 |  |" in table
    assert ElementTree.parse(tmp_path / "ratios.svg").getroot().tag.endswith("svg")
    assert report.read_results(tmp_path) == {"short-job-tail": rows}


def test_a_comparison_survives_its_record():
    row = compare("seconds", 1.0, 2.0, "lock", goal=1.5)

    assert Comparison(**json.loads(json.dumps(figures.record([row])))["rows"][0]) == row


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize(
    ("setting", "counts"), [("1", (1,)), ("all", (8,)), ("1,all", (1, 8)), ("all, 2,1", (1, 2, 8)), ("0", (8,))]
)
def test_the_setting_names_the_numbers_of_threads(monkeypatch, setting, counts):
    monkeypatch.setattr(compute_threads, "CORES", 8)

    assert thread_counts(setting) == counts


def test_without_a_setting_there_is_one_thread_and_all_cores(monkeypatch):
    monkeypatch.delenv("BENCH_THREADS", raising=False)
    monkeypatch.setattr(compute_threads, "CORES", 8)

    assert thread_counts() == (1, 8)


def test_a_record_names_the_threads_of_each_row_and_keeps_what_differs():
    rows = {threads: [compare("images per second", threads, 1.0, "lock", more_is_better=True)] for threads in (1, 8)}
    merged = merge_figures({n: figures.record(row, repeats=3, per_s=n / 2) for n, row in rows.items()})

    assert [(row["threads"], row["ratio"]) for row in merged["rows"]] == [(1, 1.0), (8, 8.0)]
    assert merged["threads"] == [1, 8]
    assert merged["repeats"] == 3
    assert merged["by_threads"] == {"1": {"per_s": 0.5}, "8": {"per_s": 4.0}}
    assert figures.summarize_rows(merged).splitlines()[1:][1].startswith("  images per second, 8 threads:")


def test_a_measurement_with_one_number_of_threads_needs_no_second_level():
    assert merge_figures({2: figures.record([], repeats=3)}) == {"rows": [], "threads": [2], "repeats": 3}


class UnsafeTokenizer:
    """Fails like a fast one if two threads use it at the same time."""

    model_max_length = 77

    def __init__(self) -> None:
        self._busy = threading.Lock()

    def __call__(self, prompt: str) -> list[str]:
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("Already borrowed")
        time.sleep(0.002)
        self._busy.release()
        return prompt.split()

    def tokenize(self, prompt: str) -> list[str]:
        return self(prompt)


def test_a_locked_tokenizer_is_locked_in_all_its_methods():
    tokenizer = LockedTokenizer(UnsafeTokenizer())
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit([tokenizer, tokenizer.tokenize][number % 2], "a fox") for number in range(20)]

    assert all(call.result() == ["a", "fox"] for call in calls)
    assert tokenizer.model_max_length == 77
