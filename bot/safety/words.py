"""Finds blocked words in what people type, however they dress them up. Every step takes time in proportion to the text.

A text is brought into a few plain forms (signs that look like letters read as letters or as gaps, what stands between
letters read as a gap or as nothing), in which whole words are looked up. A letter may be said more often than in the
word: "nuuude" is "nude", but "good" is not "god".
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

_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")
_LOOK_ALIKES = dict(
    zip(
        "аеорсухіјѕһԁɡԛԝѵкмнтαβεικνορτυχγηωıøđłħŧ",
        "aeopcyxijshdgqwvkmhtabeikvoptuxynwiodlht",
        strict=True,
    )
)
"""Letters of other alphabets that are read as Latin ones by eye. Blocked words are read the same way."""
_SIGNS = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s", "€": "e"}
_BETWEEN = {"!": "i", "|": "i", "+": "t"}
"""Letters only between letters: at an end they are what they are."""
_AS_I = str.maketrans(_SIGNS)
_AS_L = str.maketrans(_SIGNS | {"1": "l"})
_HAS_SIGN = re.compile(r"[01345789@$€]|\w[!|+]\w")
_BETWEEN_LETTERS = re.compile(r"(?<=\w)[!|+](?=\w)")
_GAP = re.compile(r"[\W\d_]+")
_GLUE = re.compile(r"[^\w\s]|[\d_]")
_REPEATED = re.compile(r"(.)\1+", re.DOTALL)
_SPELLED = re.compile(r"(?<!\S)(\w)\1*(?: (\w)\2*(?!\S))+")
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Scripts that put no spaces between words."""
_YEARS = re.compile(
    rf"(?<!\w)(?:{'|'.join(AGES)})\W{{0,3}}(?:yo|y\W?o|years?\W{{0,3}}old|yrs?\W{{0,3}}old|jahre\W{{0,3}}alt|ans)(?!\w)"
)
_LONG = 4
"""Letters from which on a word is still itself when one of them is doubled."""


class _Fold(dict[int, str]):
    """For `str.translate`: marks and unseen characters vanish, look-alikes become Latin."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if unicodedata.category(char) in ("Mn", "Me", "Cf") or char in _UNSEEN:
            return ""
        return _LOOK_ALIKES.get(char, char)


_FOLD = _Fold({code: chr(code) for code in range(128)})


def folded(text: str) -> str:
    """Lower case without accents, unseen characters and other alphabets' look-alikes."""
    if text.isascii():
        return text.casefold()
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return text.translate(_FOLD)


def _forms(plain: str) -> list[str]:
    """The ways to read a folded text, each of letters with single spaces, a space at both ends."""
    readings = [plain]
    if _HAS_SIGN.search(plain):
        inner = _BETWEEN_LETTERS.sub(lambda found: _BETWEEN[found.group()], plain)
        readings += [inner.translate(_AS_I), inner.translate(_AS_L)]
    apart = [_GAP.sub(" ", reading) for reading in readings]
    glued = [" ".join(_GLUE.sub("", reading).split()) for reading in readings]
    return list(dict.fromkeys(f" {form.strip()} " for form in (*apart, *glued)))


def _runs(word: str) -> tuple[tuple[str, int], ...]:
    return tuple((letter, len(list(same))) for letter, same in groupby(word))


def _squeezed(text: str) -> str:
    return _REPEATED.sub(r"\1", text)


@dataclass(frozen=True)
class _Form:
    """One reading of a text. `spelled` are the letters that stand alone, joined: "n u d e"."""

    text: str
    squeezed: str
    words: frozenset[str]
    spelled: tuple[str, ...]


def _read(form: str) -> _Form:
    squeezed = _squeezed(form)
    spelled = tuple(found.group().replace(" ", "") for found in _SPELLED.finditer(form))
    return _Form(form, squeezed, frozenset(squeezed.split()), spelled)


class _Words:
    """A list of words and phrases to look for."""

    def __init__(self, words: Iterable[str]) -> None:
        self._by_shape: dict[str, list[tuple[tuple[str, int], ...]]] = {}
        self._phrases: set[str] = set()
        self._inside: set[str] = set()
        for word in words:
            self._add(word)
        self._lengths = sorted({len(shape) for shape in self._by_shape})
        self._starts = {shape[:2] for shape in self._by_shape}

    def _add(self, word: str) -> None:
        plain = folded(word)
        parts = _GLUE.sub("", plain.translate(_AS_I)).split()
        if _SPACELESS.search(plain):
            self._inside.add("".join(parts))
        elif len(parts) == 1:
            self._by_shape.setdefault(_squeezed(parts[0]), []).append(_runs(parts[0]))
        elif parts:
            self._phrases.add(_squeezed(f" {' '.join(parts)} "))

    def are_in(self, form: _Form) -> bool:
        if self._inside and any(word in form.text.replace(" ", "") for word in self._inside):
            return True
        if any(phrase in form.squeezed for phrase in self._phrases):
            return True
        shapes = form.words & self._by_shape.keys()
        if shapes and any(self._is_one(word) for word in set(form.text.split()) if _squeezed(word) in shapes):
            return True
        return any(self._is_within(spelled) for spelled in form.spelled)

    def _is_one(self, word: str) -> bool:
        runs = _runs(word)
        return any(_says(runs, known) for known in self._by_shape[_squeezed(word)])

    def _is_within(self, spelled: str) -> bool:
        """Spelled out, a word may stand anywhere in a row of letters."""
        shape, runs = _squeezed(spelled), _runs(spelled)
        for start in range(len(shape)):
            if shape[start : start + 2] not in self._starts:
                continue
            for length in self._lengths:
                known = self._by_shape.get(shape[start : start + length])
                if known and any(_says(runs[start : start + length], one) for one in known):
                    return True
        return False


def _says(runs: Sequence[tuple[str, int]], word: Sequence[tuple[str, int]]) -> bool:
    """Whether letters with their repeats are this word, or the word drawn out. Their shapes are the same already."""
    may_double = sum(count for _, count in word) >= _LONG
    return all(
        said == count or (said > count and (may_double or said > 2))
        for (_, said), (_, count) in zip(runs, word, strict=True)
    )


@functools.cache
def _builtin() -> Mapping[str, _Words]:
    return {"always": _Words(ALWAYS), "minors": _Words(MINORS), "sexual": _Words(SEXUAL)}


_HARMLESS = re.compile("|".join(rf"(?<= ){phrase}(?= )" for phrase in HARMLESS))


class BlockedWords:
    """The owner's words beside those that no house may have."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._own = _Words(words)

    def find(self, text: str) -> str:
        """Why the text is refused: "minors" (sexual content about them), "words" (the owner's); "": it is not."""
        plain = folded(text)
        forms = [_read(form) for form in _forms(plain)]
        if self._is_about_minors(plain, forms):
            return "minors"
        return "words" if any(self._own.are_in(form) for form in forms) else ""

    def _is_about_minors(self, plain: str, forms: list[_Form]) -> bool:
        known = _builtin()
        if any(known["always"].are_in(form) for form in forms):
            return True
        if not (_YEARS.search(plain) or any(known["minors"].are_in(form) for form in forms)):
            return False
        return any(known["sexual"].are_in(_read(_HARMLESS.sub("", form.text))) for form in forms)


def read_words(words: Iterable[str], file: str, folder: Path) -> BlockedWords:
    """Those of the config and of its file: one word or phrase a line, `#` begins a comment.

    Raises: StartupError: the file cannot be read.
    """
    lines: list[str] = []
    if file:
        path = folder / file
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            sentence = f"The list of blocked words {path} cannot be read: make it, or empty safety.blocked_words_file."
            raise StartupError(sentence) from error
    written = (line.partition("#")[0].strip() for line in lines)
    return BlockedWords([*words, *filter(None, written)])
