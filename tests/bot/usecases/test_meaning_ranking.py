"""One ranked list of words and meaning."""

import pytest

from bot.ports import MatchScore, NearPicture
from bot.usecases.meaning_ranking import FoundJobs, join_found, nearest_jobs


def near(*found):
    return [
        NearPicture(job=job, media=f"{job}-{n}", similarity=similarity) for n, (job, similarity) in enumerate(found)
    ]


def test_a_job_is_found_by_its_nearest_picture_and_once():
    assert nearest_jobs(near(("a", 0.9), ("b", 0.8), ("a", 0.7))) == {"a": "a-0", "b": "b-1"}


def test_pictures_that_are_far_behind_the_nearest_are_not_found():
    assert list(nearest_jobs(near(("a", 0.4), ("b", 0.25), ("c", 0.2)))) == ["a", "b"]


@pytest.mark.parametrize("similarity", [0.0, -0.3])
def test_without_a_similar_picture_nothing_is_found(similarity):
    assert nearest_jobs(near(("a", similarity), ("b", -0.5))) == {}
    assert nearest_jobs([]) == {}


@pytest.mark.parametrize(
    ("words", "meaning", "expected"),
    [
        (["w1", "both", "w2"], ["both", "m1"], ["both", "w1", "m1", "w2"]),
        (["w1", "w2"], [], ["w1", "w2"]),
        ([], ["m1", "m2"], ["m1", "m2"]),
        ([], [], []),
    ],
    ids=["both", "words", "meaning", "nothing"],
)
def test_what_is_in_both_lists_comes_first_and_the_others_alternate(words, meaning, expected):
    assert list(join_found(words, {job: job for job in meaning}).ids) == expected


def test_matching_reorders_the_matched_jobs_among_themselves():
    found = FoundJobs(("a", "word", "b", "c", "d"), {one: one for one in "abcd"})
    matches = {"a": MatchScore(-1.0, 0.2), "b": MatchScore(0.5, 0.3), "c": MatchScore(0.5, 0.4)}

    assert found.to_match(4) == [("a", "a"), ("b", "b"), ("c", "c")]
    assert found.reorder(matches).ids == ("c", "word", "b", "a", "d")
    assert found.reorder({}).ids == found.ids


def test_at_most_sixteen_pictures_of_the_first_page_are_matched():
    jobs = [str(n) for n in range(40)]
    found = FoundJobs(tuple(jobs), {one: one for one in jobs})

    assert [len(found.to_match(page)) for page in (5, 16, 60)] == [5, 16, 16]
