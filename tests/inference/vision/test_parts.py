"""The feature cache stays within its limit; KV cache rows move unchanged; how tokens are chosen."""

import pytest
import torch
from transformers import DynamicCache

from inference.vision.feature_cache import FeatureCache
from inference.vision.kv_cache import KVCache, concat, keep_rows, left_padding_mask
from inference.vision.sequence import (
    MIN_TEMPERATURE,
    TextSequence,
    generation_arguments,
    logits_warpers_for,
    next_tokens,
)

KIB = 1024


def features(kib):
    return (torch.zeros(kib * KIB, dtype=torch.uint8),)


def test_the_least_recently_used_features_are_evicted_first():
    cache = FeatureCache(10 * KIB)
    for key in ("fox", "cat"):
        cache.put(key, features(4))
    cache.get("fox")
    cache.put("dog", features(4))

    assert [key for key in ("fox", "cat", "dog") if cache.get(key) is not None] == ["fox", "dog"]
    assert cache.nbytes == 8 * KIB


@pytest.mark.parametrize("limit", [0, KIB])
def test_features_larger_than_the_limit_are_not_cached(limit):
    cache = FeatureCache(limit)
    cache.put("fox", features(4))

    assert cache.get("fox") is None
    assert cache.nbytes == 0


def test_features_that_are_cached_again_count_once():
    cache = FeatureCache(10 * KIB)
    for _ in range(3):
        cache.put("fox", features(4))

    assert (len(cache), cache.nbytes) == (1, 4 * KIB)
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def make_cache(*rows):
    """From lists of numbers, one for each token: padded at the left with zeros."""
    width = max(map(len, rows))
    states = torch.tensor([[0.0] * (width - len(row)) + [float(n) for n in row] for row in rows])[:, None, :, None]
    cache = DynamicCache()
    for layer in range(2):
        cache.update(states + layer, -states - layer, layer)
    return KVCache(cache, [len(row) for row in rows])


def rows_of(cache):
    """Each row without its padding: the first layer's keys and the second's values."""
    first, second = cache.cache.layers[0].keys, cache.cache.layers[1].values
    return [
        (first[row, 0, -length:, 0].tolist(), second[row, 0, -length:, 0].tolist())
        for row, length in enumerate(cache.lengths)
    ]


@pytest.mark.parametrize("others", [[[7]], [[7, 8, 9, 10, 11]], [[7, 8], [9, 10, 11, 12]]])
def test_concatenated_rows_are_aligned_at_the_newest_token(others):
    combined = concat(make_cache([1, 2, 3], [4]), make_cache(*others))

    assert rows_of(combined) == rows_of(make_cache([1, 2, 3], [4])) + rows_of(make_cache(*others))
    assert combined.width == max(3, *map(len, others))


def test_keeping_shorter_rows_removes_their_padding():
    remaining = keep_rows(make_cache([1, 2, 3, 4, 5], [6, 7], [8]), [1, 2])

    assert rows_of(remaining) == rows_of(make_cache([6, 7], [8]))
    assert remaining.width == 2
    assert remaining.attention_mask(extra_columns=1).tolist() == [[1, 1, 1], [0, 1, 1]]


def test_padding_is_masked_at_the_left():
    assert left_padding_mask([1, 3], 3, torch.device("cpu")).tolist() == [[0, 0, 1], [1, 1, 1]]


def test_a_text_does_not_end_before_its_minimum_length():
    sequences = [
        TextSequence(task_id="a", max_tokens=9, min_tokens=1, stop_token_ids=frozenset({2})),
        TextSequence(task_id="b", max_tokens=9, stop_token_ids=frozenset({2})),
    ]
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])

    assert next_tokens(sequences, logits) == [1, 2]
    assert logits[0, 2] == 2.0


@pytest.mark.parametrize("temperature", [1e-40, 1e-6])
def test_the_smallest_temperature_is_greedy_and_ends_no_other_text(temperature):
    options = {"temperature": temperature, "top_k": 0}
    cold = TextSequence(
        task_id="a",
        max_tokens=9,
        generator=torch.Generator().manual_seed(1),
        logits_warpers=logits_warpers_for(options, 50),
    )

    tokens = next_tokens(
        [cold, TextSequence(task_id="b", max_tokens=9)], torch.tensor([[1.0, 30.0, 2.0], [5.0, 1.0, 2.0]])
    )

    assert tokens == [1, 0]
    assert generation_arguments(options, 9)["temperature"] == MIN_TEMPERATURE


def test_logits_that_overflowed_can_be_sampled_too():
    warpers = logits_warpers_for({"temperature": 0.5, "top_p": 0.9}, 50)
    row = TextSequence(task_id="a", max_tokens=9, generator=torch.Generator().manual_seed(1), logits_warpers=warpers)

    assert next_tokens([row], torch.tensor([[1.0, torch.inf, torch.nan, torch.inf]]))[0] in (1, 3)


def test_each_sequence_samples_with_its_own_generator():
    logits = torch.zeros(3, 50)

    def sample(*seeds):
        sequences = [
            TextSequence(task_id="a", max_tokens=9, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        return [next_tokens(sequences, logits) for _ in range(5)]

    alone, batched = sample(3), sample(1, 3, 2)
    assert [one[1] for one in batched] == [one[0] for one in alone]
    assert len({tuple(one) for one in zip(*batched, strict=True)}) == 3


def test_a_sequence_ends_by_a_token_by_its_length_or_by_its_text():
    sequences = [
        TextSequence(task_id="a", max_tokens=9, stop_token_ids=frozenset({7})),
        TextSequence(task_id="a", max_tokens=2),
        TextSequence(task_id="a", max_tokens=9, should_stop=lambda ids: ids[-1] == 7),
    ]
    for sequence in sequences:
        sequence.append_token(5)
        assert not sequence.is_finished
        sequence.append_token(7)

    assert [sequence.is_finished for sequence in sequences] == [True, True, True]


def test_greedy_decoding_needs_no_warpers():
    names = [type(one).__name__ for one in logits_warpers_for({"temperature": 0.7, "top_p": 0.9}, None)]

    assert logits_warpers_for({"temperature": 0.0, "top_p": 1.0}, None) == ()
    assert names == ["TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper"]
    assert [type(one).__name__ for one in logits_warpers_for({"temperature": 1.0}, 0)] == []
