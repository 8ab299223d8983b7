"""A hook that fails or hangs costs its effect, never the server's threads or its loop."""

import asyncio
import threading

import pytest
from structlog.testing import capture_logs

from bot.plugins.hook_runner import MAX_THREADS, HookFailed, HookRunner
from bot.plugins.hook_values import PromptText, Refusal, Requester
from bot.problem_texts.plugin_problems import FAILED, STOPPED, TOO_LONG, UNUSABLE
from tests.plugins.plugin_fixture import plugin_running, state_of, until

SHORT_S = 0.05
HANGING = """
    import threading
    gate = threading.Event()
    def easel_metrics(): gate.wait()
    def easel_stop(): gate.set()
"""


async def call(manager, hook="easel_metrics", expected=object, **values):
    [only] = manager.list_calls(hook)
    return await only.run(expected, **values)


@pytest.mark.parametrize("form", ["def", "async def"])
async def test_both_forms_of_a_hook_are_called_with_what_they_name(plugins, form):
    async with plugin_running(plugins, "a", f"{form} easel_metrics(plugin): return plugin.name") as manager:
        assert await call(manager) == "a"


@pytest.mark.parametrize("form", ["def", "async def"])
@pytest.mark.parametrize("error", ["ValueError('words')", "SystemExit", "KeyError"])
async def test_an_error_is_no_more_than_a_failed_hook(plugins, form, error):
    async with plugin_running(plugins, "a", f"{form} easel_metrics(): raise {error}") as manager:
        with pytest.raises(HookFailed) as failed:
            await call(manager)

        assert failed.value.reason == FAILED
        assert (await state_of(manager, "a")).last_error.startswith("easel_metrics: ")


async def test_what_people_typed_is_neither_logged_nor_shown_to_admins(plugins):
    code = "def easel_prompt(prompt): raise ValueError(f'cannot read {prompt.text}, or {prompt.words}')"
    by = Requester(person="p", platform="web")
    asked = PromptText(
        job="j", text="a (secret:1.2) owl", words="a secret owl", is_negative=False, command="imagine", model="m", by=by
    )
    async with plugin_running(plugins, "a", code) as manager:
        with capture_logs() as logged, pytest.raises(HookFailed):
            await call(manager, "easel_prompt", prompt=asked)

        assert (await state_of(manager, "a")).last_error == "easel_prompt: ValueError: cannot read [...], or [...]"
        assert "secret" not in str(logged)


async def test_an_argument_with_a_default_is_given_too(plugins):
    async with plugin_running(plugins, "a", "def easel_metrics(plugin=None): return plugin.name") as manager:
        assert await call(manager) == "a"


async def test_calls_that_only_wait_for_others_do_not_count_as_hanging(plugins):
    async with plugin_running(plugins, "busy", HANGING) as manager:
        [only] = manager.list_calls("easel_metrics")
        calls = [asyncio.ensure_future(only.run(object)) for _ in range(MAX_THREADS)]
        await until(lambda: _threads("plugin-busy") == MAX_THREADS)
        for _ in range(3):
            with pytest.raises(HookFailed):
                await only.plugin.call("easel_metrics", limit_s=SHORT_S)

        assert (await state_of(manager, "busy")).is_running
        await manager.set_enabled("busy", False)
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_refusal_is_no_failure(plugins):
    code = "from bot.plugins import Refusal\ndef easel_metrics(): raise Refusal('Not today.')"
    async with plugin_running(plugins, "a", code) as manager:
        with pytest.raises(Refusal, match="Not today"):
            await call(manager)


async def test_a_result_of_another_kind_is_refused(plugins):
    async with plugin_running(plugins, "a", "def easel_metrics(): return 3") as manager:
        with pytest.raises(HookFailed) as failed:
            await call(manager, expected=str)

        assert failed.value.reason == UNUSABLE


async def test_a_hook_that_hangs_is_given_up(plugins):
    async with plugin_running(plugins, "a", HANGING, time_limit_s=SHORT_S) as manager:
        with pytest.raises(HookFailed) as failed:
            await call(manager)

        assert failed.value.reason == TOO_LONG
        assert (await state_of(manager, "a")).last_error == "easel_metrics took longer than 0.05 s."


async def test_a_plugin_that_hangs_again_and_again_is_switched_off(plugins):
    async with plugin_running(plugins, "a", HANGING, time_limit_s=SHORT_S) as manager:
        for _ in range(3):
            with pytest.raises(HookFailed):
                await call(manager)

        assert manager.list_calls("easel_metrics") == []
        state = await state_of(manager, "a")
        assert (state.is_enabled, state.is_running) == (True, False)
        assert state.problem.startswith("Its hooks took too long 3 times in a row")


async def test_hooks_that_hang_take_a_few_threads_at_most(plugins):
    code = HANGING.replace("gate.wait()", "gate.wait(); return {}")
    async with plugin_running(plugins, "hanging", code) as manager:
        calls = [asyncio.ensure_future(call(manager)) for _ in range(3 * MAX_THREADS)]
        await until(lambda: _threads("plugin-hanging") == MAX_THREADS)
        await asyncio.sleep(0)

        assert _threads("plugin-hanging") == MAX_THREADS
        await manager.set_enabled("hanging", False)
        results = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(one) for one in results} == {HookFailed}


@pytest.mark.parametrize("is_left", [False, True], ids=["too long", "nobody waits"])
async def test_a_loop_without_end_is_interrupted(plugins, is_left):
    code = "def easel_metrics():\n    while True: pass"
    async with plugin_running(plugins, "endless", code, time_limit_s=SHORT_S) as manager:
        waiting = asyncio.ensure_future(call(manager))
        await until(lambda: _threads("plugin-endless") or waiting.done())
        if is_left:
            waiting.cancel()
        await asyncio.wait({waiting})
        await until(lambda: _threads("plugin-endless") == 0)
        [only] = manager.list_calls("easel_metrics")
        await until(lambda: only.plugin.runner._hanging == 0)


@pytest.mark.parametrize("is_given_up_first", [False, True])
async def test_a_hook_that_ends_in_the_moment_in_which_it_is_given_up_is_not_counted_as_hanging(is_given_up_first):
    loop, gate = asyncio.get_running_loop(), threading.Event()
    runner = HookRunner(name="late", limit_s=20.0)
    waiting = asyncio.ensure_future(runner.call("easel_metrics", (gate.wait, ()), {}))
    await until(lambda: _threads("plugin-late"))
    [thread] = [thread for thread in threading.enumerate() if thread.name == "plugin-late"]
    if is_given_up_first:
        loop.call_soon(waiting.cancel)
    gate.set()
    thread.join()  # what it tells is read in the loop's next turn, after the cancellation or before it
    loop.call_soon(waiting.cancel)
    await asyncio.wait({waiting})
    await until(lambda: runner._threads._value == MAX_THREADS)
    await asyncio.sleep(0)

    assert runner._hanging == 0


async def test_a_hook_that_nobody_waits_for_may_end_within_its_time(plugins):
    code = """
        import threading
        gate, began = threading.Event(), threading.Event()
        def easel_metrics(plugin):
            began.set()
            gate.wait()
            (plugin.folder / "ended").touch()
        def easel_page_panels():
            began.wait()
            gate.set()
    """
    async with plugin_running(plugins, "a", code) as manager:
        waiting = asyncio.ensure_future(call(manager))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await call(manager, "easel_page_panels")
        await until((plugins.data_dir / "plugins" / "state" / "a" / "ended").exists)


def _threads(name):
    return sum(thread.name == name for thread in threading.enumerate())


@pytest.mark.parametrize("body", ["gate.wait()", "await asyncio.Event().wait()"])
async def test_what_a_plugin_does_while_it_is_switched_off_has_no_effect(plugins, body):
    form = "async def" if "await" in body else "def"
    code = f"""
        import asyncio, threading
        gate, began = threading.Event(), threading.Event()
        {form} easel_metrics(plugin):
            (plugin.folder / "began").touch()
            {body}
        def easel_stop(): gate.set()
    """
    async with plugin_running(plugins, "a", code) as manager:
        waiting = asyncio.ensure_future(call(manager))
        await until((plugins.data_dir / "plugins" / "state" / "a" / "began").exists)
        await manager.set_enabled("a", False)

        with pytest.raises(HookFailed) as failed:
            await waiting
        assert failed.value.reason == STOPPED


async def test_a_plugin_may_have_a_longer_limit(plugins):
    code = "SETTINGS = {'time_limit_s': 20.0}\nimport time\ndef easel_metrics(): time.sleep(0.1); return 1"
    async with plugin_running(plugins, "a", code, time_limit_s=SHORT_S) as manager:
        assert await call(manager) == 1
