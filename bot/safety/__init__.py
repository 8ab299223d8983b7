"""Content safety: blocked words, image scores, and the policies of spaces. Pure."""

from bot.safety.policy import Policy, SafetyRules, SafetySettings, Verdict, apply_rules, classifier_spec
from bot.safety.words import BlockedWords, read_words

__all__ = [
    "BlockedWords",
    "Policy",
    "SafetyRules",
    "SafetySettings",
    "Verdict",
    "apply_rules",
    "classifier_spec",
    "read_words",
]
