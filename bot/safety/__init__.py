"""What may be asked for and shown: blocked words, scores of pictures, and what a space allows. Pure."""

from bot.safety.policy import Policy, Rules, SafetySettings, Verdict, classifier_of, judged
from bot.safety.words import BlockedWords, read_words

__all__ = [
    "BlockedWords",
    "Policy",
    "Rules",
    "SafetySettings",
    "Verdict",
    "classifier_of",
    "judged",
    "read_words",
]
