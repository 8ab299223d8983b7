"""Texts that cost the most where a program reads them carelessly: generated from a seed, the same on every machine."""

import json
import random
from collections.abc import Callable, Iterator

SIZES = (40, 400, 2000, 20_000)
"""Characters; the last is beyond every limit."""
MARKS = "\u0315\u0323\u0327\u0301\u0f73\uff9e"
"""Combining marks of different classes: normalizing sorts them."""


def generate_texts(count: int, seed: int = 15) -> Iterator[tuple[str, str]]:
    """(kind, text) pairs."""
    chance = random.Random(seed)
    kinds = list(_KINDS.items())
    for number in range(count):
        kind, make = kinds[number % len(kinds)]
        size = chance.choice(SIZES)
        yield f"{kind}, {size} characters", make(chance, size)[:size]


def _combining_marks(chance: random.Random, size: int) -> str:
    first, second = chance.sample(MARKS, 2)
    return chance.choice(["e", "", "\u200b"]) + (
        first * (size // 2) + second * size if size % 3 else (first + second) * size
    )


def _hidden_marks(chance: random.Random, size: int) -> str:
    """Marks that follow one another only when what is invisible has been removed."""
    return "e" + "\u0315\u200b" * (size // 4) + "\u0323\u200b" * size


def _nested_braces(chance: random.Random, size: int) -> str:
    pair = chance.choice(["{}", "()", "[]", "(]", "<>"])
    return pair[0] * (size // 2) + pair[1] * size


def _open_choices(chance: random.Random, size: int) -> str:
    return chance.choice(["{", "{a|b}", "{{|"]) + "|" * size


def _combinations(chance: random.Random, size: int) -> str:
    return "{a|b|c|d}" * chance.randint(1, 4) + chance.choice(["word ", "((x]", "__w__ "]) * size


def _long_names(chance: random.Random, size: int) -> str:
    return chance.choice(["--", "/", "__", "v1:", "<lora:", "\u2014"]) + chance.choice("apz9_-") * size


def _wildcards(chance: random.Random, size: int) -> str:
    names = ["animal", "loop", "many", "none", "a" * 200, "a/b-c_d" * 20]
    return " ".join(f"__{chance.choice(names)}__" for _ in range(size // 8))


def _weights(chance: random.Random, size: int) -> str:
    pieces = ["(a:1.3)", "((", "]]", "\\(", ":" + "1" * 300, "(x:" + " " * 300, "BREAK ", "<lora:a:1>", "(:.)"]
    return "".join(chance.choices(pieces, k=size))


def _regex_traps(chance: random.Random, size: int) -> str:
    unit = chance.choice(["a" * 50 + "!", " \t", "--a = ", "=:", '"', "n u d e ", "12 y", "0!", "<", "_ ", ":1", "\\"])
    return unit * size + chance.choice(["x", "\0", "\ud800", "!"])


def _flags(chance: random.Random, size: int) -> str:
    flags = ["--seed", "--size", "--prompt", "--page", "--confirm", "\u2014steps", "--style", "--unknown"]
    return " ".join(chance.choice(flags) + chance.choice(["=", " ", " = "]) + "9" * 20 for _ in range(size // 10))


def _deep_json(chance: random.Random, size: int) -> str:
    opening, closing = chance.choice([("[", "]"), ('{"a":', "}"), ('{"options":{"prompt":[', "]}}")])
    depth = size // (len(opening) + len(closing) + 1)
    return opening * depth + "1" + closing * depth


def _wide_json(chance: random.Random, size: int) -> str:
    values = chance.choice([[1] * (size // 3), [{}] * (size // 4), {f"n{k}": k for k in range(size // 12)}])
    return json.dumps({"command": "imagine", chance.choice(["images", "options", "other"]): values})


def _any_letters(chance: random.Random, size: int) -> str:
    return "".join(
        chr(chance.choice([chance.randrange(0x20, 0x3000), chance.randrange(0x1F000, 0x1FB00)]))
        for _ in range(min(size, 400))
    )


_KINDS: dict[str, Callable[[random.Random, int], str]] = {
    "combining marks": _combining_marks,
    "hidden marks": _hidden_marks,
    "nested braces": _nested_braces,
    "open choices": _open_choices,
    "combinations": _combinations,
    "long names": _long_names,
    "wildcards": _wildcards,
    "weights": _weights,
    "regex traps": _regex_traps,
    "flags": _flags,
    "deep JSON": _deep_json,
    "wide JSON": _wide_json,
    "any letters": _any_letters,
}
