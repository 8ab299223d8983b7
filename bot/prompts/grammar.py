"""The prompt syntax: weights, breaks and LoRAs. Pure; shared by the core and the engines.

A job's prompt keeps this syntax, as A1111's parameters do: the text alone reproduces the image.

| written | meaning |
|---|---|
| `(cat:1.3)` | cat with weight 1.3; `(cat)` is 1.1, `((cat))` 1.21, `[cat]` 1/1.1 |
| `\\(cat\\)` | (cat): literal brackets |
| `BREAK` | starts a new chunk of the text encoder |
| `<lora:name:0.8>` | an installed LoRA with weight 0.8; `<lora:name>` is 1 |

An unmatched bracket is literal, as is a weight above `MAX_WEIGHT`: "(16:9)" is not an emphasis of 9.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_WEIGHT = 5.0
MAX_LORA_WEIGHT = 2.0
_EMPHASIS = 1.1
_TOKEN = re.compile(r"\\[()\[\]\\]|:\s*(\d+(?:\.\d+)?|\.\d+)\s*\)|[()\[\]]")
_BREAK = re.compile(r"(?<!\S)BREAK(?!\S)")
_LORA = re.compile(r"<lora:([^:<>]{1,120})(?::([^<>]{0,40}))?>", re.IGNORECASE)
_OPENING = {")": "(", "]": "["}


@dataclass(frozen=True)
class WeightedText:
    """Text with one weight."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class LoraTag:
    """`<lora:name:weight>`; `weight` is None if it is not a number."""

    name: str
    weight: float | None


def find_lora_tags(prompt: str) -> list[LoraTag]:
    """The LoRA tags of the prompt, in order. Their weights are not checked."""
    return [LoraTag(found[1].strip(), _number(found[2])) for found in _LORA.finditer(prompt)]


def without_loras(prompt: str) -> str:
    """The prompt without LoRA tags, as a text encoder reads it; unchanged if it has none."""
    if not _LORA.search(prompt):
        return prompt
    return re.sub(r" {2,}", " ", _LORA.sub(" ", prompt)).strip()


def parse_chunks(prompt: str) -> list[list[WeightedText]]:
    """The weighted pieces of each text between BREAKs; at least one text, which may have no pieces."""
    texts: list[list[WeightedText]] = [[]]
    for piece in _parse_weights(without_loras(prompt)):
        first, *others = _BREAK.split(piece.text)
        texts[-1] += [WeightedText(first, piece.weight)] if first else []
        for other in others:
            texts.append([WeightedText(other, piece.weight)] if other else [])
    return texts


def plain_text(prompt: str) -> str:
    """The text without syntax, for models that support no weights, moderation and alt texts."""
    texts = ["".join(piece.text for piece in pieces).strip() for pieces in parse_chunks(prompt)]
    return " ".join(text for text in texts if text)


def has_weights(prompt: str) -> bool:
    """Whether the prompt has weights or BREAKs, which `plain_text` removes."""
    texts = parse_chunks(prompt)
    return len(texts) > 1 or any(piece.weight != 1 for piece in texts[0])


def prompt_at(options: Mapping[str, Any], index: int = 0) -> str:
    """The prompt of image `index` of a job: with wildcards each image has its own."""
    prompts: Sequence[str] = options.get("prompts") or ()
    return str(prompts[index] if index < len(prompts) else options["prompt"])


def _number(text: str | None) -> float | None:
    if text is None:
        return 1.0
    return float(text) if re.fullmatch(r"\s*[+-]?\d{0,4}\.?\d{1,6}\s*", text) else None


def _parse_weights(text: str) -> list[WeightedText]:
    """Nested emphases multiply, up to `MAX_WEIGHT`; neighbours with equal weights are merged."""
    tokens = list(_tokens(text))
    factors = _factors(tokens)
    found: list[WeightedText] = []
    current = [1.0]
    for index, token in enumerate(tokens):
        kind = _kind(token) if index in factors else ""
        if kind == "open":
            current.append(current[-1] * factors[index])
        elif kind == "close":
            current.pop()
        else:
            weight = min(MAX_WEIGHT, current[-1])
            text = token[1:] if len(token) == 2 and token[0] == "\\" else token
            if found and found[-1].weight == weight:
                found[-1] = WeightedText(found[-1].text + text, weight)
            else:
                found.append(WeightedText(text, weight))
    return found


def _tokens(text: str) -> Iterator[str]:
    """Brackets, closing brackets with their weight, escapes, and the text between."""
    end = 0
    for match in _TOKEN.finditer(text):
        is_weight = match[1] is not None
        if is_weight and float(match[1]) > MAX_WEIGHT:
            yield from (text[end : match.end() - 1], ")")
        else:
            yield from (text[end : match.start()], match[0])
        end = match.end()
    yield text[end:]


def _kind(token: str) -> str:
    if token in ("(", "["):
        return "open"
    return "close" if token == "]" or (token.endswith(")") and token[0] in ":)") else ""


def _factors(tokens: Sequence[str]) -> dict[int, float]:
    """The factor of each matched bracket, by its index. Unmatched brackets are text."""
    factors: dict[int, float] = {}
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for index, token in enumerate(tokens):
        kind = _kind(token)
        if kind == "open":
            opened[token].append(index)
        elif kind == "close" and opened[_OPENING[token[-1]]]:
            start = _close_last(opened, _OPENING[token[-1]])
            weight = token[1:-1].strip()
            factor = float(weight) if weight else _EMPHASIS if tokens[start] == "(" else 1 / _EMPHASIS
            factors[start] = factors[index] = factor
    return factors


def _close_last(opened: Mapping[str, list[int]], bracket: str) -> int:
    """Close the last open bracket of this kind and return its index; those of the other kind inside it are text."""
    start = opened[bracket].pop()
    for others in opened.values():
        while others and others[-1] > start:
            others.pop()
    return start
