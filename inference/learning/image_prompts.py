"""The words of image trainings: captions, prompts whose pictures must stay as they are, and prompts of the test."""

import re
from collections.abc import Sequence
from pathlib import Path

from bot.errors import TrainingRefused
from bot.ports import TrainingRequest
from inference.learning.training_folder import Example

_KEPT = (
    "cat", "dog", "apple", "house", "car", "tree", "fish", "star", "horse", "robot", "flower", "rocket", "owl", "pizza",
    "cactus", "guitar", "hat", "moon", "key", "book", "crab", "circle", "cake", "castle", "bus", "bird", "lemon",
    "square", "clock", "chair",
)  # fmt: skip
"""What prior images show; and, below, what the test's do."""
_TESTED = (
    "tiger", "banana", "lion", "rose", "umbrella", "penguin", "train", "mushroom", "whale", "bell", "pumpkin", "snail",
    "church", "crown", "camera", "carrot", "violin", "ghost", "balloon", "bicycle", "zebra", "sunflower", "burger",
    "diamond",
)  # fmt: skip
_COLOURS = ("blue", "green", "white", "red", "yellow", "purple", "gray", "orange", "pink", "cyan", "brown", "black")
_PLACES = (
    "on a {colour} background", "in a garden", "on a wooden table", "in the snow", "on a beach", "in a city street",
    "in a dark room", "painted in watercolor",
)  # fmt: skip
_ARTICLES = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)
TEST_PROMPTS = 8
"""Of what is new: half of them captions, half other places."""


def caption_of(example: Example, request: TrainingRequest) -> str:
    """From the metadata, a text file beside the image, or the vision model; it contains the request's words.

    Raises: TrainingRefused: there is none.
    """
    caption = example.answer or _read_sidecar(example.path) or request.captions.get(example.file, "")
    caption = " ".join(caption.split())
    if not caption and not request.words:
        raise TrainingRefused("no_caption", file=example.file)
    if bare_words(request.words).casefold() in caption.casefold():
        return caption
    return ", ".join(filter(None, (request.words, caption)))


def _read_sidecar(image: Path) -> str:
    path = image.with_suffix(".txt")
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(4096)
    except (OSError, UnicodeDecodeError):
        return ""


def bare_words(words: str) -> str:
    """Without an article: captions may put an adjective between the two."""
    return _ARTICLES.sub("", words.strip())


def prior_prompts(captions: Sequence[str], words: str, count: int, *, is_demo: bool) -> list[str]:
    """Prompts for what the model knows, the empty one first: plain ones, and captions that name something known
    instead of what is learned."""
    bare = bare_words(words)
    named = [caption for caption in captions if bare and bare.casefold() in caption.casefold()]
    prompts = [""]
    for number in range(count - 1):
        noun = _KEPT[number // 2 % len(_KEPT)]
        if number % 2 and named:
            prompts.append(_rename(named[number // 2 % len(named)], bare, noun))
        else:
            prompts.append(_plain(noun, number, is_demo=is_demo))
    return prompts


def known_prompts(count: int, *, is_demo: bool) -> list[str]:
    """Prompts of the test for what the model knows, each for something else."""
    return [_plain(noun, number, is_demo=is_demo) for number, noun in enumerate(_TESTED[:count])]


def new_prompts(captions: Sequence[str], words: str, *, is_demo: bool) -> list[str]:
    """Prompts of the test for what was learned."""
    own = list(dict.fromkeys(captions))
    count = TEST_PROMPTS // 2 if words else TEST_PROMPTS
    prompts = own[:: max(1, len(own) // count)][:count]
    if words:
        prompts += [f"{words} {_place(number, is_demo=is_demo)}" for number in range(TEST_PROMPTS - len(prompts))]
    return prompts


def _rename(caption: str, words: str, noun: str) -> str:
    return re.sub(re.escape(words), noun, caption, flags=re.IGNORECASE)


def _plain(noun: str, number: int, *, is_demo: bool) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun} {_place(number, is_demo=is_demo)}"


def _place(number: int, *, is_demo: bool) -> str:
    """A demo model knows backgrounds of one colour only."""
    colour = _COLOURS[number * 5 % len(_COLOURS)]
    place = _PLACES[0] if is_demo else _PLACES[number % len(_PLACES)]
    return place.format(colour=colour).replace("a orange", "an orange")
