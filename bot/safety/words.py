"""Finds blocked words in texts, including disguised spellings. Every step takes time linear in the length of the text.

A text is normalized to a few plain forms (signs that look like letters are read as letters or as gaps, characters
between letters as gaps or as nothing), in which whole words are looked up. Letters may be repeated: "nuuude" matches
"nude", but "good" does not match "god".
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bot.errors import StartupError
from bot.safety.builtin import AGES, ALWAYS, HARMLESS, MINORS, SEXUAL

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")
_LOOK_ALIKES = dict(
    zip(
        "аеорсухіјѕһԁɡԛԝѵкмнтαβεικνορτυχγηωıøđłħŧ",
        "aeopcyxijshdgqwvkmhtabeikvoptuxynwiodlht",
        strict=True,
    )
)
"""Letters of other alphabets that look like Latin ones. Blocked words are normalized the same way."""
_SIGNS = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s", "€": "e"}
_BETWEEN = {"!": "i", "|": "i", "+": "t"}
"""Read as letters only between letters; at the end of a word they are punctuation."""
_AS_I = str.maketrans(_SIGNS)
_AS_L = str.maketrans(_SIGNS | {"1": "l"})
_HAS_SIGN = re.compile(r"[01345789@$€]|\w[!|+]\w")
_BETWEEN_LETTERS = re.compile(r"(?<=\w)[!|+](?=\w)")
_GAP = re.compile(r"[\W\d_]+")
_GLUE = re.compile(r"[^\w\s]|[\d_]")
_REPEATED = re.compile(r"(.)\1+", re.DOTALL)
_SPELLED_OUT = re.compile(r"(?<!\S)(\w)\1*(?: (\w)\2*(?!\S))+")
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Scripts without spaces between words."""
_YEARS = re.compile(
    rf"(?<!\w)(?:{'|'.join(AGES)})\W{{0,3}}(?:yo|y\W?o|years?\W{{0,3}}old|yrs?\W{{0,3}}old|jahre\W{{0,3}}alt|ans)(?!\w)"
)
_MIN_LENGTH_FOR_DOUBLING = 4
"""From this length on, a word still matches with a doubled letter."""


class _Fold(dict[int, str]):
    """For `str.translate`: removes marks and invisible characters, maps look-alikes to Latin letters."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if unicodedata.category(char) in ("Mn", "Me", "Cf") or char in _INVISIBLE:
            return ""
        return _LOOK_ALIKES.get(char, char)


_FOLD = _Fold({code: chr(code) for code in range(128)})


def normalize(text: str) -> str:
    """Lower case, without accents and invisible characters, with look-alikes as Latin letters."""
    if text.isascii():
        return text.casefold()
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return text.translate(_FOLD)


def _forms(plain: str) -> list[str]:
    """The readings of a normalized text: letters with single spaces, and a space at both ends."""
    readings = [plain]
    if _HAS_SIGN.search(plain):
        inner = _BETWEEN_LETTERS.sub(lambda found: _BETWEEN[found.group()], plain)
        readings += [inner.translate(_AS_I), inner.translate(_AS_L)]
    apart = [_GAP.sub(" ", reading) for reading in readings]
    glued = [" ".join(_GLUE.sub("", reading).split()) for reading in readings]
    return list(dict.fromkeys(f" {form.strip()} " for form in (*apart, *glued)))


def _letter_runs(word: str) -> tuple[tuple[str, int], ...]:
    return tuple((letter, len(list(same))) for letter, same in groupby(word))


def _squeeze(text: str) -> str:
    return _REPEATED.sub(r"\1", text)


@dataclass(frozen=True)
class _Form:
    """One reading of a text. `spelled` are runs of single letters, joined: "n u d e"."""

    text: str
    squeezed: str
    words: frozenset[str]
    spelled: tuple[str, ...]


def _parse_form(form: str) -> _Form:
    squeezed = _squeeze(form)
    spelled = tuple(found.group().replace(" ", "") for found in _SPELLED_OUT.finditer(form))
    return _Form(form, squeezed, frozenset(squeezed.split()), spelled)


class _Words:
    """A list of words and phrases to search for."""

    def __init__(self, words: Iterable[str]) -> None:
        self._by_shape: dict[str, list[tuple[tuple[str, int], ...]]] = {}
        self._phrases: set[str] = set()
        self._inside: set[str] = set()
        for word in words:
            self._add(word)
        self._lengths = sorted({len(shape) for shape in self._by_shape})
        self._starts = {shape[:2] for shape in self._by_shape}

    def _add(self, word: str) -> None:
        plain = normalize(word)
        parts = _GLUE.sub("", plain.translate(_AS_I)).split()
        if _SPACELESS.search(plain):
            self._inside.add("".join(parts))
        elif len(parts) == 1:
            self._by_shape.setdefault(_squeeze(parts[0]), []).append(_letter_runs(parts[0]))
        elif parts:
            self._phrases.add(_squeeze(f" {' '.join(parts)} "))

    def match(self, form: _Form) -> bool:
        if self._inside and any(word in form.text.replace(" ", "") for word in self._inside):
            return True
        if any(phrase in form.squeezed for phrase in self._phrases):
            return True
        shapes = form.words & self._by_shape.keys()
        if shapes and any(self._is_one(word) for word in set(form.text.split()) if _squeeze(word) in shapes):
            return True
        return any(self._is_within(spelled) for spelled in form.spelled)

    def _is_one(self, word: str) -> bool:
        runs = _letter_runs(word)
        return any(_matches_runs(runs, known) for known in self._by_shape[_squeeze(word)])

    def _is_within(self, spelled: str) -> bool:
        """Whether a word occurs anywhere in a run of single letters."""
        shape, runs = _squeeze(spelled), _letter_runs(spelled)
        for start in range(len(shape)):
            if shape[start : start + 2] not in self._starts:
                continue
            for length in self._lengths:
                known = self._by_shape.get(shape[start : start + length])
                if known and any(_matches_runs(runs[start : start + length], one) for one in known):
                    return True
        return False


def _matches_runs(runs: Sequence[tuple[str, int]], word: Sequence[tuple[str, int]]) -> bool:
    """Whether letters with their repeats are this word, possibly with more repeats; their shapes are already equal."""
    may_double = sum(count for _, count in word) >= _MIN_LENGTH_FOR_DOUBLING
    return all(
        seen == count or (seen > count and (may_double or seen > 2))
        for (_, seen), (_, count) in zip(runs, word, strict=True)
    )


@functools.cache
def _builtin_words() -> Mapping[str, _Words]:
    return {"always": _Words(ALWAYS), "minors": _Words(MINORS), "sexual": _Words(SEXUAL)}


_HARMLESS = re.compile("|".join(rf"(?<= ){phrase}(?= )" for phrase in HARMLESS))


class BlockedWords:
    """The built-in words and the owner's."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._own = _Words(words)

    def find_reason(self, text: str) -> str:
        """Why the text is refused: "minors" (sexual content about them) or "words" (the owner's); "": it is allowed."""
        plain = normalize(text)
        forms = [_parse_form(form) for form in _forms(plain)]
        if self._is_about_minors(plain, forms):
            return "minors"
        return "words" if any(self._own.match(form) for form in forms) else ""

    def _is_about_minors(self, plain: str, forms: list[_Form]) -> bool:
        known = _builtin_words()
        if any(known["always"].match(form) for form in forms):
            return True
        if not (_YEARS.search(plain) or any(known["minors"].match(form) for form in forms)):
            return False
        return any(known["sexual"].match(_parse_form(_HARMLESS.sub("", form.text))) for form in forms)


def read_words(words: Iterable[str], file: str, folder: Path) -> BlockedWords:
    """Read the words of the config and its file: one word or phrase per line, `#` starts a comment.

    Raises: StartupError: the file cannot be read.
    """
    lines: list[str] = []
    if file:
        path = folder / file
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            sentence = (
                f"The list of blocked words {path} cannot be read: create it, or empty safety.blocked_words_file."
            )
            raise StartupError(sentence) from error
    written = (line.partition("#")[0].strip() for line in lines)
    return BlockedWords([*words, *filter(None, written)])
