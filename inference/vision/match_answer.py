"""The words of a `match`: shares for several texts, and a verdict for one.

A matching probability alone says little: it is near 0 or 1 for most texts. Among several texts the two heads say which
fits best; whether one fits at all is said only where the probability is far from the limits. A model that is not
calibrated gives 0 to true texts too, such as those that tell only a part of the image, so its 0 means nothing.
"""

import math
from collections.abc import Sequence
from typing import Literal

Verdict = Literal["fits", "unclear", "does not fit"]

_TEMPERATURE = 0.07
"""Of similarities. Source: LAVIS, blip2_qformer.py, the initial value of `temp`."""
_FITS, _FITS_NOT = 0.5, 0.05
"""Matching probabilities: the decision the head is trained for, and a clear no."""


def format_answer(
    texts: Sequence[str], match_scores: Sequence[float], similarities: Sequence[float], *, is_calibrated: bool = True
) -> str:
    """One line: the verdict and the text. Several: a line for each text with its share, best first."""
    if len(texts) == 1:
        return f"{verdict(match_scores[0], is_calibrated=is_calibrated)}: {texts[0]}"
    shares = relative_shares(match_scores, similarities)
    order = sorted(range(len(texts)), key=lambda index: -shares[index])
    return "\n".join(f"{100 * shares[index]:.0f} % {texts[index]}" for index in order)


def relative_shares(match_scores: Sequence[float], similarities: Sequence[float]) -> list[float]:
    """How well each text fits, compared with the others; they sum to 1: the mean of the shares of both heads."""
    matches = [max(score, 1e-30) for score in match_scores]
    best = max(similarities)
    nearness = [math.exp((similarity - best) / _TEMPERATURE) for similarity in similarities]
    return [(match / sum(matches) + near / sum(nearness)) / 2 for match, near in zip(matches, nearness, strict=True)]


def verdict(match_score: float, *, is_calibrated: bool) -> Verdict:
    if match_score >= _FITS:
        return "fits"
    return "does not fit" if is_calibrated and match_score < _FITS_NOT else "unclear"


def fits_none(match_scores: Sequence[float], *, is_calibrated: bool) -> bool:
    """Whether no text fits, so that the shares only compare wrong texts."""
    return all(verdict(score, is_calibrated=is_calibrated) == "does not fit" for score in match_scores)
