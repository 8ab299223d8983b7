"""What was seen is kept within bounds; what a batch remembers moves between rows unchanged; how words are drawn."""

import pytest
import torch
from transformers import DynamicCache

from inference.vision.feature_cache import Kept
from inference.vision.kv_cache import Past, joined, left_mask, narrowed
from inference.vision.sequence import Row, choose, warpers

KIB = 1024


def seen(kib):
    return (torch.zeros(kib * KIB, dtype=torch.uint8),)


def test_what_was_not_asked_for_the_longest_goes_first():
    kept = Kept(10 * KIB)
    for key in ("fox", "cat"):
        kept.put(key, seen(4))
    kept.get("fox")
    kept.put("dog", seen(4))

    assert [key for key in ("fox", "cat", "dog") if kept.get(key) is not None] == ["fox", "dog"]
    assert kept.bytes == 8 * KIB


@pytest.mark.parametrize("limit", [0, KIB])
def test_what_is_too_large_is_not_kept(limit):
    kept = Kept(limit)
    kept.put("fox", seen(4))

    assert kept.get("fox") is None
    assert kept.bytes == 0


def test_what_is_kept_again_counts_once():
    kept = Kept(10 * KIB)
    for _ in range(3):
        kept.put("fox", seen(4))

    assert (len(kept), kept.bytes) == (1, 4 * KIB)
    kept.clear()
    assert (len(kept), kept.bytes) == (0, 0)


def past(*rows):
    """Of lists of numbers, one for each token: padded at the left with noughts."""
    width = max(map(len, rows))
    states = torch.tensor([[0.0] * (width - len(row)) + [float(n) for n in row] for row in rows])[:, None, :, None]
    cache = DynamicCache()
    for layer in range(2):
        cache.update(states + layer, -states - layer, layer)
    return Past(cache, [len(row) for row in rows])


def rows_of(past):
    """Each row's own numbers, of the first layer's keys and the second's values."""
    first, second = past.cache.layers[0].keys, past.cache.layers[1].values
    return [
        (first[row, 0, -length:, 0].tolist(), second[row, 0, -length:, 0].tolist())
        for row, length in enumerate(past.lengths)
    ]


@pytest.mark.parametrize("others", [[[7]], [[7, 8, 9, 10, 11]], [[7, 8], [9, 10, 11, 12]]])
def test_rows_join_at_the_newest_token(others):
    both = joined(past([1, 2, 3], [4]), past(*others))

    assert rows_of(both) == rows_of(past([1, 2, 3], [4])) + rows_of(past(*others))
    assert both.width == max(3, *map(len, others))


def test_rows_that_leave_take_their_padding_with_them():
    left = narrowed(past([1, 2, 3, 4, 5], [6, 7], [8]), [1, 2])

    assert rows_of(left) == rows_of(past([6, 7], [8]))
    assert left.width == 2
    assert left.mask(more=1).tolist() == [[1, 1, 1], [0, 1, 1]]


def test_padding_is_masked_at_the_left():
    assert left_mask([1, 3], 3, torch.device("cpu")).tolist() == [[0, 0, 1], [1, 1, 1]]


def test_a_text_does_not_end_before_it_may():
    rows = [Row(owner="a", most=9, least=1, ends=frozenset({2})), Row(owner="b", most=9, ends=frozenset({2}))]
    scores = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])

    assert choose(rows, scores) == [1, 2]
    assert scores[0, 2] == 2.0


def test_each_row_draws_with_its_own_luck():
    scores = torch.zeros(3, 50)

    def drawn(*seeds):
        rows = [Row(owner="a", most=9, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return [choose(rows, scores) for _ in range(5)]

    alone, together = drawn(3), drawn(1, 3, 2)
    assert [one[1] for one in together] == [one[0] for one in alone]
    assert len({tuple(one) for one in zip(*together, strict=True)}) == 3


def test_a_row_ends_by_a_token_by_its_length_or_by_its_text():
    ends = [
        Row(owner="a", most=9, ends=frozenset({7})),
        Row(owner="a", most=2),
        Row(owner="a", most=9, has_ended=lambda ids: ids[-1] == 7),
    ]
    for row in ends:
        row.take(5)
        assert not row.is_done
        row.take(7)

    assert [row.is_done for row in ends] == [True, True, True]


def test_the_likeliest_words_need_no_warping():
    names = [type(one).__name__ for one in warpers({"temperature": 0.7, "top_p": 0.9}, None)]

    assert warpers({"temperature": 0.0, "top_p": 1.0}, None) == ()
    assert names == ["TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper"]
    assert [type(one).__name__ for one in warpers({"temperature": 1.0}, 0)] == []
