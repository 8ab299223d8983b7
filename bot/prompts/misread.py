"""What looks like prompt syntax and is read as words, so that a note can name it. Pure."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from bot.prompts.grammar import WEIGHT, bracket_kind, match_brackets, read_edits, split_tokens

_LIKE_A_WEIGHT = re.compile(
    r"(?<!\\)[:：]\s*(?:[+\-−–—]*[\d.,．，¼½¾][\w.,．，+%/-]{0,40}|[+-]?[\d., ]{1,40}|[+-]?(?:nan|inf|infinity))\s*$",
    re.IGNORECASE,
)
"""At the end of a text. Keyboards of phones write other signs, points and commas."""
_BAR = r"(?<!\\)\|"
_WEIGHT_AFTER_OPENING = re.compile(r".*?(?<!\\)[:：]\s*[+-]?[\d.][\w.,]{0,40}", re.DOTALL)
_EDIT_AFTER_OPENING = re.compile(rf"{_WEIGHT_AFTER_OPENING.pattern}|.*?{_BAR}[^|]*", re.DOTALL)
_FULL_WIDTH_BRACKETS = re.compile(r"（[^（）]{0,200}[:：]\s*[+-]?[\d.]{1,40}\s*）")
_BROKEN_TAG = re.compile(r"<\s*(?:lora|lyco)\b\s*[^<>\s]*>?", re.IGNORECASE)
_KEYWORD = re.compile(r"\bAND\b|\bTE[2-4]:")
"""Of other programs: composed prompts, and texts for single text encoders."""
_COMPOSED_WEIGHT = re.compile(rf":\s*{WEIGHT}(?=\s*(?:\bAND\b|$))")


def find_misread(prompt: str) -> list[str]:
    """The pieces of the prompt as they are written."""
    edits = read_edits(prompt)
    text = edits.text_of_all_choices()
    found = [*edits.misread, *_find_brackets(text), *_FULL_WIDTH_BRACKETS.findall(text), *_BROKEN_TAG.findall(text)]
    return list(dict.fromkeys([*found, *_find_keywords(text)]))


def _find_brackets(text: str) -> Iterator[str]:
    """Brackets with something like a weight, and those of weights and edits that lack their other half."""
    tokens = split_tokens(text)
    pairs = match_brackets(tokens)
    opened = set(pairs.values())
    bounds = [-1, *(index for index, token in enumerate(tokens) if bracket_kind(token)), len(tokens)]
    for start, end in pairwise(bounds):
        words = "".join(tokens[start + 1 : end])
        closing = tokens[end] if end < len(tokens) and bracket_kind(tokens[end]) == "close" else ""
        if start >= 0 and start not in opened and (cut := _cut_after_opening(tokens[start], words)):
            yield cut
        elif closing == ")" and end in pairs and _LIKE_A_WEIGHT.search(words):
            yield "".join(tokens[pairs[end] : end + 1])
        elif closing and end not in pairs and _is_cut_before_closing(closing, words):
            yield re.split(r",\s|\n", words)[-1].lstrip() + closing


def _cut_after_opening(bracket: str, words: str) -> str:
    """The bracket and its words up to a weight or a choice; empty if there is none, or the bracket closes."""
    patterns = {"(": _WEIGHT_AFTER_OPENING, "[": _EDIT_AFTER_OPENING}
    found = patterns[bracket].match(words) if bracket in patterns else None
    return bracket + found[0].rstrip() if found else ""


def _is_cut_before_closing(bracket: str, words: str) -> bool:
    """Whether these words before a closing bracket end like a weight or an edit."""
    if bracket not in (")", "]"):
        return True  # a weight is part of it
    return _LIKE_A_WEIGHT.search(words) is not None or (bracket == "]" and re.search(_BAR, words) is not None)


def _find_keywords(text: str) -> Sequence[str]:
    keywords = _KEYWORD.findall(text)
    weights = _COMPOSED_WEIGHT.findall(text) if "AND" in keywords else []
    return [] if text.isupper() and not weights else [*keywords, *weights]
