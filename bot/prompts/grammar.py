"""What a prompt may hold beside words: weights, breaks and LoRAs. Pure, and the same for core and engines.

The prompt of a job keeps all of it, as A1111's own parameters do, so that the text alone makes the picture again.

| written | read as |
|---|---|
| `(cat:1.3)` | cat, weighed 1.3; `(cat)` is 1.1, `((cat))` 1.21, `[cat]` 1/1.1 |
| `\\(cat\\)` | (cat): the brackets themselves |
| `BREAK` | what follows begins another chunk of the text encoder |
| `<lora:name:0.8>` | the kept LoRA at 0.8; `<lora:name>` is 1 |

A bracket without its partner stands for itself, as does a weight beyond `MAX_WEIGHT`: "(16:9)" is no emphasis of 9.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_WEIGHT = 5.0
MAX_LORA_WEIGHT = 2.0
_EMPHASIS = 1.1
_TOKEN = re.compile(r"\\[()\[\]\\]|:\s*(\d*\.?\d+)\s*\)|[()\[\]]")
_BREAK = re.compile(r"(?<!\S)BREAK(?!\S)")
_LORA = re.compile(r"<lora:([^:<>]{1,120})(?::([^<>]{0,40}))?>", re.IGNORECASE)
_OPENS = {")": "(", "]": "["}


@dataclass(frozen=True)
class Piece:
    """Words that are weighed alike."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class LoraTag:
    """`<lora:name:weight>` as written; `weight` is None for what is no number."""

    name: str
    weight: float | None


def lora_tags(prompt: str) -> list[LoraTag]:
    """The LoRAs that the prompt names, in its order. Their weights are not checked."""
    return [LoraTag(found[1].strip(), _number(found[2])) for found in _LORA.finditer(prompt)]


def without_loras(prompt: str) -> str:
    """The prompt as a text encoder reads it. Without a tag it stays as it is, to the letter."""
    if not _LORA.search(prompt):
        return prompt
    return re.sub(r" {2,}", " ", _LORA.sub(" ", prompt)).strip()


def chunks(prompt: str) -> list[list[Piece]]:
    """The weighed pieces of the text on each side of a BREAK; at least one text, which may have no piece."""
    texts: list[list[Piece]] = [[]]
    for piece in _weighed(without_loras(prompt)):
        first, *others = _BREAK.split(piece.text)
        texts[-1] += [Piece(first, piece.weight)] if first else []
        for other in others:
            texts.append([Piece(other, piece.weight)] if other else [])
    return texts


def words_of(prompt: str) -> str:
    """The words alone, for what reads no weights: other text encoders, moderation, alt texts."""
    texts = ["".join(piece.text for piece in pieces).strip() for pieces in chunks(prompt)]
    return " ".join(text for text in texts if text)


def has_weights(prompt: str) -> bool:
    """Whether the prompt says more than words and LoRAs: what `words_of` leaves out."""
    texts = chunks(prompt)
    return len(texts) > 1 or any(piece.weight != 1 for piece in texts[0])


def prompt_of(options: Mapping[str, Any], index: int = 0) -> str:
    """The prompt of picture `index` of a job: wildcards give each picture its own."""
    prompts: Sequence[str] = options.get("prompts") or ()
    return str(prompts[index] if index < len(prompts) else options["prompt"])


def _number(text: str | None) -> float | None:
    if text is None:
        return 1.0
    return float(text) if re.fullmatch(r"\s*[+-]?\d{0,4}\.?\d{1,6}\s*", text) else None


def _weighed(text: str) -> list[Piece]:
    """Each emphasis multiplies those around it, within 0 and `MAX_WEIGHT`; neighbours weighed alike are one piece."""
    tokens = list(_tokens(text))
    factors = _factors(tokens)
    found: list[Piece] = []
    current = [1.0]
    for index, token in enumerate(tokens):
        kind = _kind(token) if index in factors else ""
        if kind == "open":
            current.append(current[-1] * factors[index])
        elif kind == "close":
            current.pop()
        else:
            weight = min(MAX_WEIGHT, current[-1])
            words = token[1:] if len(token) == 2 and token[0] == "\\" else token
            if found and found[-1].weight == weight:
                found[-1] = Piece(found[-1].text + words, weight)
            else:
                found.append(Piece(words, weight))
    return found


def _tokens(text: str) -> Iterator[str]:
    """Brackets, closing brackets with their weight, escapes, and the words between."""
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
    """By the index of each bracket that has a partner: what it multiplies weights by. Others are words."""
    factors: dict[int, float] = {}
    opened: list[int] = []
    for index, token in enumerate(tokens):
        kind = _kind(token)
        if kind == "open":
            opened.append(index)
        elif kind == "close":
            wanted = _OPENS[token[-1]]
            depth = next((n for n in reversed(range(len(opened))) if tokens[opened[n]] == wanted), None)
            if depth is None:
                continue
            weight = token[1:-1].strip()
            factor = float(weight) if weight else _EMPHASIS if wanted == "(" else 1 / _EMPHASIS
            factors[opened[depth]] = factors[index] = factor
            del opened[depth:]
    return factors
