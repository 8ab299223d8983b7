"""A plugin to begin with: docs/plugins.md has every hook. Delete the functions that you do not need.

What is here ends prompts with words of your own, and says hello.
"""

from bot.plugins import ChatMessage, CommandCall, PluginCommand, PluginContext, PluginOption, PromptText, RunCommand

SETTINGS = {"words": "", "greeting": "Hello! Try /imagine a red fox"}
"""Defaults. The owner sets others in config.toml: [plugins.NAME] words = "in oil"."""


def easel_prompt(plugin: PluginContext, prompt: PromptText) -> str | None:
    """Before a picture is drawn: another prompt, or None to leave it as it is."""
    words = plugin.settings["words"]
    return f"{prompt.text}, {words}" if words and not prompt.is_negative else None


def easel_chat_reply(plugin: PluginContext, message: ChatMessage) -> str | None:
    """A message to the bot that is no command: an answer, or None."""
    return plugin.settings["greeting"] if message.text.casefold().strip("!. ") in ("hello", "hi") else None


def easel_commands() -> list[PluginCommand]:
    """Commands of your own, in chats and over REST."""
    title = PluginOption(name="title", help="What the poster is about", is_required=True, is_main=True, maximum=200)
    return [PluginCommand(name="poster", summary="Draw a poster", options=(title,), run=_draw_poster)]


def _draw_poster(call: CommandCall) -> RunCommand:
    return RunCommand(command="imagine", options={"prompt": f"a poster about {call.options['title']}"})
