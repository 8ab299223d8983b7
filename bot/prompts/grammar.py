"""The prompt syntax: weights, breaks, tags, and edits (`editing.py`). Pure; shared by the core and the engines.

A job's prompt keeps this syntax, as A1111's parameters do: the text alone reproduces the image.

| written | meaning |
|---|---|
| `(cat:1.3)` | cat with weight 1.3; `(cat)` is 1.1, `((cat))` 1.21, `[cat]` 1/1.1 |
| `\\(cat\\)` | (cat): literal brackets; also before `:`, `\\|` and the backslash |
| `[cat:dog:0.5]`, `[cat\\|dog]` | changes between steps: `step_texts` has each step's text |
| `BREAK`, `##` | starts a new chunk of the text encoder |
| `<lora:name:0.8>` | an installed LoRA with weight 0.8; `<lora:name>` is 1; `lyco` and `0.8:0.8` mean the same |
| `<hypernet:name:1>` | other tags have no effect and are no text |

An unmatched bracket is literal, as is a weight beyond `MAX_WEIGHT`: "(16:9)" is not an emphasis of 9. `misread.py`
lists what looks like syntax and is not.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bot.prompts.addon_names import fold_name
from bot.prompts.editing import EditablePrompt, parse_edits

MAX_WEIGHT = 5.0
"""Either sign: a negative weight moves away from the words."""
_EMPHASIS = 1.1
_MAX_PRODUCT = 1e9
"""Of nested weights, so that none becomes infinite."""
WEIGHT = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
"""Pattern of a number, of any size."""
_TOKEN = re.compile(rf"\\[()\[\]\\:|]|:\s*({WEIGHT})\s*\)|[()\[\]]")
_BREAK = re.compile(r"\bBREAK\b|##")
_BLANK = " \t\n,"
_MAX_STEPS = 20
"""In which the lengths of a changing prompt are compared."""
_LORA = re.compile(r"<(?:lora|lyco):([^:<>]{1,120})(?::([^<>]{0,40}))?>", re.IGNORECASE)
_FILE_ENDING = re.compile(r"\.safetensors$", re.IGNORECASE)
_ENCODER_OR_DENOISER = re.compile(r"^\s*(?:te|unet)\s*=")
_TAG = re.compile(r"<[a-z]\w{0,30}:[^<>]{0,200}>", re.IGNORECASE)
_OPENING = {")": "(", "]": "["}


@dataclass(frozen=True)
class WeightedText:
    """Text with one weight."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class LoraTag:
    """`<lora:name:weight>`; `weight` is None if it is not one number."""

    name: str
    weight: float | None


def find_lora_tags(prompt: str) -> list[LoraTag]:
    """The LoRA tags of the prompt, in order. Their weights are not checked."""
    return [
        LoraTag(_FILE_ENDING.sub("", found[1].strip()), _lora_weight(found[2] or ""))
        for found in _LORA.finditer(prompt)
    ]


def set_lora_weight(prompt: str, name: str, weight: float) -> str:
    """The prompt with this LoRA at this weight, wherever its tag is, else at the end; 0 leaves it out."""
    tag = f"<lora:{name}:{weight:g}>" if weight else ""
    folded = fold_name(_FILE_ENDING.sub("", name.strip()))

    def rewrite(found: re.Match[str]) -> str:
        return tag if fold_name(_FILE_ENDING.sub("", found[1].strip())) == folded else found[0]

    written = _LORA.sub(rewrite, prompt)
    if tag and tag not in written:
        written = f"{written} {tag}"
    return re.sub(r" {2,}", " ", written).strip()


def find_idle_tags(prompt: str) -> list[str]:
    """Tags as they are written that name no LoRA: of other kinds, or without a name."""
    return [tag for tag in _TAG.findall(prompt) if not _names_lora(tag)]


def find_tags(prompt: str) -> list[str]:
    """All tags as they are written."""
    return _TAG.findall(prompt)


def without_tags(prompt: str) -> str:
    """The prompt without LoRA tags and others; unchanged if it has none."""
    if not _TAG.search(prompt):
        return prompt
    return re.sub(r" {2,}", " ", _TAG.sub(" ", prompt)).strip()


def read_edits(prompt: str) -> EditablePrompt:
    """The prompt's edits: what changes between steps."""
    return parse_edits(without_tags(prompt))


def step_texts(prompt: str, steps: int) -> list[str]:
    """The prompt of each step, without tags and edits, with weights; at least one."""
    return read_edits(prompt).texts_by_step(steps)


def parse_chunks(prompt: str) -> list[list[WeightedText]]:
    """The weighted pieces of each text between BREAKs, without those that have no words; at least one text, which may
    have no pieces.

    `prompt`: that of one step; edits are text.
    """
    texts: list[list[WeightedText]] = [[]]
    for piece in _parse_weights(without_tags(prompt)):
        first, *others = _BREAK.split(piece.text)
        texts[-1] += [WeightedText(first, piece.weight)] if first else []
        for other in others:
            texts.append([WeightedText(other, piece.weight)] if other else [])
    return [pieces for pieces in texts if any(piece.text.strip(_BLANK) for piece in pieces)] or texts[:1]


def plain_text(prompt: str) -> str:
    """The text without syntax, for models that support none, moderation and alt texts; of edits all choices."""
    return _words(read_edits(prompt).text_of_all_choices())


def plain_readings(prompt: str, steps: int) -> list[str]:
    """`plain_text`, and that of each step: words may only exist in one of them."""
    return list(dict.fromkeys([plain_text(prompt), *map(_words, dict.fromkeys(step_texts(prompt, steps)))]))


def negated_readings(prompt: str, steps: int) -> list[str]:
    """The words with a negative weight, in any step."""
    texts = [read_edits(prompt).text_of_all_choices(), *step_texts(prompt, steps)]
    found = (
        " ".join(piece.text.strip() for pieces in parse_chunks(text) for piece in pieces if piece.weight < 0)
        for text in dict.fromkeys(texts)
    )
    return [words for words in dict.fromkeys(found) if words]


def has_weights(prompt: str) -> bool:
    """Whether the prompt has weights or BREAKs, which `plain_text` removes."""
    texts = parse_chunks(read_edits(prompt).text_of_all_choices())
    return len(texts) > 1 or any(piece.weight != 1 for piece in texts[0])


def has_capped_weights(prompt: str) -> bool:
    """Whether nested weights multiply to more than `MAX_WEIGHT`, which they then get."""
    products = _weight_products(split_tokens(read_edits(prompt).text_of_all_choices()))
    return any(abs(product) > MAX_WEIGHT for _, product in products)


def prompt_at(options: Mapping[str, Any], index: int = 0) -> str:
    """The prompt of image `index` of a job: with wildcards each image has its own."""
    prompts: Sequence[str] = options.get("prompts") or ()
    return str(prompts[index] if index < len(prompts) else options["prompt"])


def task_prompts(options: Mapping[str, Any]) -> list[str]:
    """The different prompts of a job's images."""
    return list(dict.fromkeys(prompt_at(options, index) for index in range(int(options.get("count", 1)))))


def longest_prompts(each: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The longest prompt and negative prompt in the options of several jobs, as in the step in which it is longest."""
    texts: dict[str, list[str]] = {}
    for options in each:
        if "prompt" in options:
            texts.setdefault("prompt", []).extend(task_prompts(options))
        if options.get("negative_prompt"):
            texts.setdefault("negative_prompt", []).append(str(options["negative_prompt"]))
    return {name: max(step_texts(max(found, key=len), _MAX_STEPS), key=len) for name, found in texts.items()}


def _names_lora(tag: str) -> bool:
    found = _LORA.fullmatch(tag)
    return found is not None and bool(found[1].strip())


def _is_weight(text: str) -> bool:
    return re.fullmatch(WEIGHT, text) is not None and abs(float(text)) <= MAX_WEIGHT


def _words(text: str) -> str:
    """Of a text without edits."""
    texts = ["".join(piece.text for piece in pieces).strip() for pieces in parse_chunks(text)]
    return " ".join(text for text in texts if text)


def _lora_weight(text: str) -> float | None:
    """The number on which the weights for text encoders and denoiser agree."""
    weights = {_number(_ENCODER_OR_DENOISER.sub("", weight)) for weight in text.split(":")}
    return weights.pop() if len(weights) == 1 else None


def _number(text: str) -> float | None:
    if not text.strip():
        return 1.0
    return float(text) if re.fullmatch(rf"\s*{WEIGHT}\s*", text) else None


def _parse_weights(text: str) -> list[WeightedText]:
    """Nested emphases multiply, up to `MAX_WEIGHT`; neighbours with equal weights are merged."""
    pieces = [
        (token[1:] if len(token) == 2 and token[0] == "\\" else token, max(-MAX_WEIGHT, min(MAX_WEIGHT, product)))
        for token, product in _weight_products(split_tokens(text))
    ]
    return [
        WeightedText("".join(piece for piece, _ in group), weight)
        for weight, group in groupby(pieces, key=lambda piece: piece[1])
    ]


def _weight_products(tokens: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The tokens that are text, each with the product of the weights that it is in."""
    factors = _factors(tokens)
    current = [1.0]
    for index, token in enumerate(tokens):
        kind = bracket_kind(token) if index in factors else ""
        if kind == "open":
            product = current[-1] * factors[index]
            current.append(max(-_MAX_PRODUCT, min(_MAX_PRODUCT, product)))
        elif kind == "close":
            current.pop()
        elif token:
            yield token, current[-1]


def split_tokens(text: str) -> list[str]:
    """Brackets, closing brackets with their weight, escapes, and the text between."""
    tokens: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        is_weight = match[1] is not None
        if is_weight and not _is_weight(match[1]):
            tokens += (text[end : match.end() - 1], ")")
        else:
            tokens += (text[end : match.start()], match[0])
        end = match.end()
    return [*tokens, text[end:]]


def bracket_kind(token: str) -> str:
    """ "open", "close", or "" for text."""
    if token in ("(", "["):
        return "open"
    return "close" if token == "]" or (token.endswith(")") and token[0] in ":)") else ""


def match_brackets(tokens: Sequence[str]) -> dict[int, int]:
    """The index of each closing bracket with that of its opening one."""
    pairs: dict[int, int] = {}
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for index, token in enumerate(tokens):
        kind = bracket_kind(token)
        if kind == "open":
            opened[token].append(index)
        elif kind == "close" and opened[_OPENING[token[-1]]]:
            pairs[index] = _close_last(opened, _OPENING[token[-1]])
    return pairs


def _factors(tokens: Sequence[str]) -> dict[int, float]:
    """The factor of each matched bracket, by its index. Unmatched brackets are text."""
    factors: dict[int, float] = {}
    for end, start in match_brackets(tokens).items():
        weight = tokens[end][1:-1].strip()
        factor = float(weight) if weight else _EMPHASIS if tokens[start] == "(" else 1 / _EMPHASIS
        factors[start] = factors[end] = factor
    return factors


def _close_last(opened: Mapping[str, list[int]], bracket: str) -> int:
    """Close the last open bracket of this kind and return its index; those of the other kind inside it are text."""
    start = opened[bracket].pop()
    for others in opened.values():
        while others and others[-1] > start:
            others.pop()
    return start
