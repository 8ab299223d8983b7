"""A plugin's heavy work is done in a child process, which ends with it."""

import asyncio
import os

import psutil  # type: ignore[import-untyped]
import pytest

from bot.plugins.hook_runner import HookFailed
from tests.plugins.plugin_fixture import plugin_running, state_of, until

CODE = """
    import os
    import time

    def measure(text):
        return os.getpid(), len(text)

    def fail(text):
        raise ValueError(text)

    def hang(text):
        time.sleep(600)

    async def easel_prompt(plugin, prompt):
        function = {"measure": measure, "fail": fail, "hang": hang}[prompt]
        result = await plugin.run_in_process(function, prompt)
        return repr(result)
"""


@pytest.mark.process
async def test_functions_run_in_a_child_that_ends_with_the_plugin(plugins):
    async with plugin_running(plugins, "a", CODE) as manager:
        [call] = manager.list_calls("easel_prompt")
        first, second = [await call.run(str, prompt="measure") for _ in range(2)]
        pid, length = eval(first)

        assert first == second
        assert (pid != os.getpid(), length) == (True, 7)
        with pytest.raises(HookFailed):
            await call.run(str, prompt="fail")
        assert "ValueError: [...] (a.py, line 9)" in (await state_of(manager, "a")).last_error
        assert await call.run(str, prompt="measure") == first  # an error does not end it

    assert not psutil.pid_exists(pid)


@pytest.mark.process
async def test_a_child_that_nobody_waits_for_any_more_is_ended(plugins):
    async with plugin_running(plugins, "a", CODE) as manager:
        [call] = manager.list_calls("easel_prompt")
        pid, _ = eval(await call.run(str, prompt="measure"))
        waiting = asyncio.ensure_future(call.run(str, prompt="hang"))
        await asyncio.sleep(0)
        waiting.cancel()
        await until(lambda: not psutil.pid_exists(pid))

        assert eval(await call.run(str, prompt="measure"))[0] != pid


async def test_a_function_that_a_child_cannot_find_is_refused(plugins):
    code = "async def easel_prompt(plugin, prompt): return await plugin.run_in_process(lambda: 1)"
    async with plugin_running(plugins, "a", code) as manager:
        [call] = manager.list_calls("easel_prompt")
        with pytest.raises(HookFailed):
            await call.run(str, prompt="x")

        assert "a function that the plugin's module defines" in (await state_of(manager, "a")).last_error
