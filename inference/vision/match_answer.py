"""The words of a `match`: shares for several texts, and a verdict for one.

A matching probability alone says little: it is near 0 or 1 for most texts, and near 0 for a true text that tells only
a part of the image. Among several texts the two heads say which fits best; whether one fits at all is said only where
the scores are far from the limits.
"""

import math
from collections.abc import Sequence
from typing import Literal

Verdict = Literal["fits", "may fit", "does not fit"]

_TEMPERATURE = 0.07
"""Of similarities. Source: LAVIS, blip2_qformer.py, the initial value of `temp`."""
_FITS, _FITS_NOT = 0.5, 0.05
"""Matching probabilities: the decision the head is trained for, and a clear no."""
_UNRELATED = 0.4
"""Similarity below which a text tells nothing of the image. Measured with starter-match on held-out scenes: true texts
have 0.73 at least, others 0.2 on average."""


def format_answer(
    texts: Sequence[str], match_scores: Sequence[float], similarities: Sequence[float], *, is_calibrated: bool = True
) -> str:
    """One line: the verdict and the text. Several: a line for each text with its share, best first."""
    if len(texts) == 1:
        return f"{verdict(match_scores[0], similarities[0], is_calibrated=is_calibrated)}: {texts[0]}"
    shares = relative_shares(match_scores, similarities)
    order = sorted(range(len(texts)), key=lambda index: -shares[index])
    return "\n".join(f"{100 * shares[index]:.0f} % {texts[index]}" for index in order)


def relative_shares(match_scores: Sequence[float], similarities: Sequence[float]) -> list[float]:
    """How well each text fits, compared with the others; they sum to 1: the mean of the shares of both heads."""
    matches = [max(score, 1e-30) for score in match_scores]
    best = max(similarities)
    nearness = [math.exp((similarity - best) / _TEMPERATURE) for similarity in similarities]
    return [(match / sum(matches) + near / sum(nearness)) / 2 for match, near in zip(matches, nearness, strict=True)]


def verdict(match_score: float, similarity: float, *, is_calibrated: bool) -> Verdict:
    """`is_calibrated`: a low probability alone means that the text does not fit."""
    if match_score >= _FITS:
        return "fits"
    is_unrelated = match_score < _FITS_NOT and (is_calibrated or similarity < _UNRELATED)
    return "does not fit" if is_unrelated else "may fit"


def fits_none(match_scores: Sequence[float], similarities: Sequence[float], *, is_calibrated: bool) -> bool:
    """Whether no text fits, so that the shares only compare wrong texts."""
    pairs = zip(match_scores, similarities, strict=True)
    return all(verdict(score, near, is_calibrated=is_calibrated) == "does not fit" for score, near in pairs)
