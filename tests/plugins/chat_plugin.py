"""A plugin with commands and replies, for tests of chats."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.plugins.plugin_fixture import PluginFolder

CODE = """
    from bot.plugins import PluginCommand, PluginOption, Refusal, RunCommand

    def poster(call):
        if call.options["title"] == "no":
            raise Refusal("No posters today.")
        words = f"a poster {call.options['title']}"
        return RunCommand(command="imagine", options={"prompt": words, "seed": 3})

    def redraw(call):
        return RunCommand(command="imagine", options={"prompt": "again", "seed": 3})

    def dice(call):
        return f"{call.by.platform} rolled {call.options['sides']}."

    def easel_commands():
        title = PluginOption(name="title", help="What it says", is_required=True, is_main=True, maximum=80)
        sides = PluginOption(name="sides", help="Of the die", kind="whole number", default=6)
        mood = PluginOption(name="mood", help="Of the picture", choices=("calm", "wild"))
        return [
            PluginCommand(name="poster", summary="A poster from a title", options=(mood, title), run=poster),
            PluginCommand(name="redraw", summary="A picture again", run=redraw, images=1),
            PluginCommand(name="dice", summary="Roll a die", options=(sides,), run=dice, answers="text"),
        ]

    def easel_chat_reply(message):
        return f"Hello, {message.by.platform} {message.is_private}!" if "hello" in message.text.lower() else None
"""


@asynccontextmanager
async def chat_plugin(application: Any) -> AsyncIterator[None]:
    """Switched on in an application meanwhile."""
    PluginFolder(application.usecases.plugins.manager.data_dir).write("chatty", CODE)
    await switch_chat_plugin(application, is_enabled=True)
    try:
        yield
    finally:
        await switch_chat_plugin(application, is_enabled=False)


async def switch_chat_plugin(application: Any, *, is_enabled: bool) -> None:
    state = await application.usecases.plugins.manager.set_enabled("chatty", is_enabled)
    assert not state.problem, state.problem
