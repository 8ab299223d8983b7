"""Plugins: what the owner's own code can see and change, which plugins there are, and what happens when one fails.

What is imported here is what plugins import: `from bot.plugins import hookimpl, Refusal`.
"""

from bot.plugins.hook_values import (
    AnswerText,
    ChatMessage,
    CommandCall,
    DeliveredImage,
    DeliveredJob,
    Panel,
    PendingRequest,
    PluginCommand,
    PluginContext,
    PluginOption,
    PromptText,
    Refusal,
    Requester,
    RunCommand,
)
from bot.plugins.hookspecs import hookimpl

__all__ = [
    "AnswerText",
    "ChatMessage",
    "CommandCall",
    "DeliveredImage",
    "DeliveredJob",
    "Panel",
    "PendingRequest",
    "PluginCommand",
    "PluginContext",
    "PluginOption",
    "PromptText",
    "Refusal",
    "Requester",
    "RunCommand",
    "hookimpl",
]
