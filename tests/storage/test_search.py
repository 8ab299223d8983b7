"""Queries are bounded: each phrase is looked up for itself."""

import string
import time

from storage.search import MAX_INDEXED, MAX_PHRASES, MAX_QUERY, search_phrases, separate_words


def test_a_query_has_so_many_different_phrases_at_most():
    assert search_phrases(" ".join(string.ascii_lowercase)) == list(string.ascii_lowercase)[:MAX_PHRASES]
    assert search_phrases("fox " * 50) == ["fox"]


def test_what_is_beyond_the_limit_of_a_query_is_not_read():
    assert search_phrases(" " * MAX_QUERY + "fox") == []


def test_separating_words_takes_linear_time():
    began = time.process_time()
    separate_words("e" + "\u0315" * 20_000 + "\u0323" * 20_000)  # seconds, without the limit

    assert time.process_time() - began < 1


def test_characters_that_expand_to_many_are_indexed_in_bounded_time():
    expanding = "\ufdfa" * 2000  # 18 characters each

    assert len(separate_words(expanding)) <= MAX_INDEXED
    assert separate_words("fox " + expanding).startswith("fox ")
