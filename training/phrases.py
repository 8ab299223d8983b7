"""Names things and grounds as people name a region: `the cat`, `red circles`, `the background`."""

from __future__ import annotations

from collections.abc import Sequence

from training.prompts import NEUTRAL_WORDS, SYNONYMS, UNKNOWN_WORD, PromptWriter, prompt_words
from training.world import Thing, article

GROUND_NOUNS = ("background", "background", "background", "backdrop", "ground", "wall", "surroundings")
SUBJECT_NOUNS = ("subject", "object", "objects", "thing", "things", "foreground", "figure", "shape", "shapes")
SYNONYM_SHARE, PLURAL_SHARE, FILLER_SHARE = 0.2, 0.12, 0.06


class PhraseWriter(PromptWriter):
    """Samples phrases in many wordings."""

    def pick_thing(self, things: Sequence[Thing]) -> Thing:
        return things[int(self.rng.integers(len(things)))]

    def write_thing(self, thing: Thing) -> str:
        """One wording; of a shape with a colour, with it."""
        is_plural = self.chance(PLURAL_SHARE)
        noun = (thing.plural_phrase if is_plural else thing.phrase).removeprefix("an ").removeprefix("a ")
        name = noun.removeprefix(thing.colour).strip()
        if not is_plural and name in SYNONYMS and self.chance(SYNONYM_SHARE):
            name = self.pick(SYNONYMS[name])
        colour = thing.colour
        if colour in SYNONYMS and self.chance(SYNONYM_SHARE):
            colour = self.pick(SYNONYMS[colour])
        filler = self.pick((*NEUTRAL_WORDS[:12], UNKNOWN_WORD)) if self.chance(FILLER_SHARE) else ""
        return self._add_article(" ".join(f"{filler} {colour} {name}".split()))

    def write_ground(self) -> str:
        """The ground behind all things."""
        return self._add_article(self.pick(GROUND_NOUNS))

    def write_subject(self) -> str:
        """All things, without a name."""
        return self._add_article(self.pick(SUBJECT_NOUNS))

    def write_unknown(self) -> str:
        """Something outside the vocabulary."""
        filler = self.pick((*NEUTRAL_WORDS[:12], "", "", ""))
        return self._add_article(f"{filler} {self.pick((UNKNOWN_WORD, f'{UNKNOWN_WORD} {UNKNOWN_WORD}'))}".strip())

    def _add_article(self, words: str) -> str:
        return f"{self.pick(('the', 'the', article(words), ''))} {words}".strip()


def phrase_words() -> list[str]:
    """The vocabulary of regions: that of prompts, and the nouns for grounds and subjects."""
    return sorted({*prompt_words(), *GROUND_NOUNS, *SUBJECT_NOUNS})
