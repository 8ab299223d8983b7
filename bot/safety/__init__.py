"""Content safety: blocked words, image scores, and the policies of spaces. Pure.

Workers check images, not words, so the patterns for words are compiled on first use.
"""

from typing import TYPE_CHECKING, Any

from bot.safety.policy import (
    Policy,
    SafetyRules,
    SafetySettings,
    Verdict,
    apply_rules,
    classifier_spec,
    classifier_specs,
)

if TYPE_CHECKING:
    from bot.safety.words import BlockedWords, read_words

__all__ = [
    "BlockedWords",
    "Policy",
    "SafetyRules",
    "SafetySettings",
    "Verdict",
    "apply_rules",
    "classifier_spec",
    "classifier_specs",
    "read_words",
]


def __getattr__(name: str) -> Any:
    if name in ("BlockedWords", "read_words"):
        from bot.safety import words

        return getattr(words, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
