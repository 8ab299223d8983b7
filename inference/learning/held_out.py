"""Which examples test an adapter, and whether an answer is right. Pure."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from inference.learning.training_folder import Example

TEST_SHARE = 0.2
MIN_PER_ANSWER = 2
"""Images of the test for each distinct answer, if it has three times as many."""
LONG_WORDS = 6
"""Answers of more words are right if they nearly agree (`MIN_OVERLAP`): no two people describe an image alike."""
MIN_OVERLAP = 0.7
_ARTICLES = frozenset({"a", "an", "the"})


def split_examples(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Those that are trained and those that test. An image with all its questions is on one side, and each answer that
    has enough images on both."""
    order = sorted({example.image for example in examples}, key=lambda image: _hash(image, seed))
    by_image: dict[str, list[Example]] = {image: [] for image in order}
    for example in examples:
        by_image[example.image].append(example)
    left = Counter({answer: _quota(count) for answer, count in _count_images(examples).items()})
    held: set[str] = set()
    for image in order:
        if any(left[_key(example)] > 0 for example in by_image[image]):
            held.add(image)
            left.subtract(_key(example) for example in by_image[image])
    minimum = max(1, round(TEST_SHARE * len(order)))
    for image in order:
        if len(held) >= minimum:
            break
        held.add(image)
    return (
        [example for example in examples if example.image not in held],
        [example for example in examples if example.image in held],
    )


def _quota(images: int) -> int:
    return max(round(TEST_SHARE * images), min(MIN_PER_ANSWER, images // 3))


def _count_images(examples: Sequence[Example]) -> Counter[tuple[str, str]]:
    return Counter(_key(example) for example in examples)


def _key(example: Example) -> tuple[str, str]:
    return (example.question.casefold(), example.answer.casefold())


def _hash(image: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{image}".encode()).hexdigest()


def is_right(expected: str, answer: str) -> bool:
    """The same words but for articles, case and punctuation; of long answers, an F1 of words of `MIN_OVERLAP`."""
    right, given = _words(expected), _words(answer)
    if len(right) <= LONG_WORDS:
        return right == given
    shared = sum((Counter(right) & Counter(given)).values())
    return 2 * shared >= MIN_OVERLAP * (len(right) + len(given))


def _words(text: str) -> list[str]:
    words = [word for word in re.findall(r"[^\W_]+", text.casefold()) if word not in _ARTICLES]
    return words or text.casefold().split()
