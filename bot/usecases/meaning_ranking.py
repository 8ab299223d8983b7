"""One ranked list of jobs that were found by words and by meaning. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bot.ports import MatchScore, NearPicture

RANK_OFFSET = 60
"""Source: Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion": a constant that keeps first places from deciding
alone."""
MIN_SHARE = 0.6
"""Pictures whose similarity is below this share of the best one's are not found."""
MAX_MATCHED = 16
"""Pictures of the first page that the matching model compares with the words."""


@dataclass(frozen=True)
class FoundJobs:
    """`pictures`: of jobs that were found by meaning, the picture that is nearest."""

    ids: tuple[str, ...]
    pictures: Mapping[str, str] = field(default_factory=dict)

    def to_match(self, page: int) -> list[tuple[str, str]]:
        """Jobs of the first page whose pictures are compared with the words, and these pictures."""
        first = self.ids[: min(page, MAX_MATCHED)]
        return [(job, self.pictures[job]) for job in first if job in self.pictures]

    def reorder(self, matches: Mapping[str, MatchScore]) -> "FoundJobs":
        """The matched jobs among themselves, best first; all others keep their places."""
        places = [place for place, job in enumerate(self.ids) if job in matches]
        best = sorted((self.ids[place] for place in places), key=lambda job: -_score(matches[job]))
        ids = list(self.ids)
        for place, job in zip(places, best, strict=True):
            ids[place] = job
        return FoundJobs(tuple(ids), self.pictures)


def _score(match: MatchScore) -> float:
    """Source: LAVIS, `BlipRetrieval.compute_sim_matrix`, which adds both heads."""
    return match.logit + match.similarity


def nearest_jobs(near: Sequence[NearPicture]) -> dict[str, str]:
    """Of pictures, best first: their jobs, each with its nearest picture, best first."""
    floor = MIN_SHARE * near[0].similarity if near else 0.0
    found: dict[str, str] = {}
    for one in near:
        if one.similarity > 0 and one.similarity >= floor:
            found.setdefault(one.job, one.media)
    return found


def join_found(by_words: Sequence[str], by_meaning: Mapping[str, str]) -> FoundJobs:
    """Both lists as one, by reciprocal ranks: a job of both comes before one at the same place of either."""
    scores: dict[str, float] = {}
    for found in (by_words, by_meaning):
        for rank, job in enumerate(found):
            scores[job] = scores.get(job, 0.0) + 1 / (RANK_OFFSET + rank)
    return FoundJobs(tuple(sorted(scores, key=lambda job: -scores[job])), dict(by_meaning))
