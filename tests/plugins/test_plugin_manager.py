"""Plugins that are enabled run; one that cannot is left out, and its state says why."""

from functools import partial
from importlib.metadata import EntryPoint

import pytest

from bot.plugins.discovery import find_plugins
from bot.problem_texts.plugin_problems import PluginRefused
from tests.plugins.plugin_fixture import plugin_running, state_of

REFUSE = "from bot.plugins import Refusal\n"
HELLO = "def easel_metrics(): return {'hello': 1}"


async def test_a_plugin_is_started_with_its_settings_and_a_folder_of_its_own(plugins):
    code = """
        SETTINGS = {"word": "oil", "times": 1}

        def easel_start(plugin):
            word, times = plugin.settings["word"], plugin.settings["times"]
            (plugin.folder / "started").write_text(f"{plugin.name} {word} {times}")
    """

    async with plugin_running(plugins, "add_word", code, tables={"add-word": {"times": 3}}) as manager:
        state = await state_of(manager, "add-word")

    assert (state.is_enabled, state.is_running, state.problem) == (True, True, "")
    assert state.source == "plugins/add_word.py"
    assert (plugins.data_dir / "plugins" / "state" / "add-word" / "started").read_text() == "add-word oil 3"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("1 / 0\n" + HELLO, "It cannot be started: import: ZeroDivisionError: division by zero"),
        ("raise SystemExit\n" + HELLO, "It cannot be started: import: RuntimeError: SystemExit"),
        ("import missing_library\n" + HELLO, "It cannot be started: import: ModuleNotFoundError: No module named"),
        ("def easel_start(): 1 / 0", "It cannot be started: easel_start: ZeroDivisionError: division by zero"),
        (f"{REFUSE}def easel_start(): raise Refusal('No licence.')", "It cannot be started: No licence."),
        (f"{REFUSE}def easel_start(): raise Refusal", "It cannot be started: it refuses to."),
        (f"{REFUSE}def easel_commands(): assert False", "It cannot be started: easel_commands: AssertionError"),
        ("def easel_prompt(text): ...", "It cannot be used: Argument(s) {'text'} are declared"),
        ("def easel_commands(): return [1]", "easel_commands must return a list of PluginCommand."),
        ("def easel_commands(): return 1", "easel_commands must return a list of PluginCommand."),
    ],
)
async def test_a_plugin_that_fails_is_left_out_and_says_why(plugins, code, problem):
    plugins.write("good", HELLO)

    async with plugin_running(plugins, "bad", code) as manager:
        state, good = await state_of(manager, "bad"), await state_of(manager, "good")

        assert state.problem.startswith(problem), state.problem
        assert not state.is_running
        assert good.is_running
        assert [call.name for call in manager.list_calls("easel_metrics")] == ["good"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"wrd": "x"}, "plugins.a has no key wrd. Did you mean word? Known: enabled, time_limit_s, word, strength."),
        ({"word": 3}, "plugins.a.word must be text."),
        ({"strength": "much"}, "plugins.a.strength must be a number."),
        ({"time_limit_s": 0}, "plugins.a.time_limit_s must be a number from 0.05 to 600."),
    ],
)
async def test_a_setting_that_the_plugin_does_not_know_is_refused_by_name(plugins, table, problem):
    code = "SETTINGS = {'word': 'oil', 'strength': 0.5}\n"

    for hook in ("easel_metrics()", "easel_step(latents)"):  # of the server, and of the worker alone
        async with plugin_running(plugins, "a", f"{code}def {hook}: ...", tables={"a": table}) as manager:
            assert (await state_of(manager, "a")).problem == problem
            assert manager.list_for_worker() == []


async def test_hooks_are_called_in_the_configured_order_and_then_by_name(plugins):
    for name in "abcd":
        plugins.write(name, HELLO)

    async with plugins.manager(order=("d", "b"), disabled=("c",)) as manager:
        assert [call.name for call in manager.list_calls("easel_metrics")] == ["d", "b", "a"]
        assert [state.name for state in await manager.list_states()] == ["d", "b", "a", "c"]


async def test_a_disabled_plugin_is_not_even_imported(plugins):
    async with plugin_running(
        plugins, "a", "raise RuntimeError\n" + HELLO, tables={"a": {"enabled": False}}
    ) as manager:
        state = await state_of(manager, "a")

    assert (state.is_enabled, state.is_running, state.problem) == (False, False, "")


async def test_switching_takes_effect_now_and_for_the_next_start(plugins):
    async with plugin_running(plugins, "a", HELLO) as manager:
        off = await manager.set_enabled("a", False)

        assert not off.is_running
        assert manager.list_calls("easel_metrics") == []
    assert (plugins.data_dir / "config.toml").read_text().endswith("[plugins.a]\nenabled = false\n")


async def test_switching_on_reads_the_file_anew(plugins):
    async with plugin_running(plugins, "a", "1 / 0\n" + HELLO) as manager:
        plugins.write("a", HELLO)
        on = await manager.set_enabled("a", True)

        assert (on.is_running, on.problem, on.last_error) == (True, "", "")


async def test_a_file_that_was_added_meanwhile_can_be_switched_on(plugins):
    async with plugins.manager() as manager:
        plugins.write("new", HELLO)

        assert not (await state_of(manager, "new")).is_running
        assert (await manager.set_enabled("new", True)).is_running


async def test_a_workers_file_that_was_added_or_changed_meanwhile_is_loaded_once_it_is_switched_on(plugins):
    code = "def easel_step(latents): ..."
    async with plugin_running(plugins, "old", code) as manager:
        [before] = manager.list_for_worker()
        plugins.write("new", code)
        plugins.write("old", f"{code}  # changed")
        added = await state_of(manager, "new")
        assert (added.is_enabled, added.is_running) == (True, False)
        assert manager.list_for_worker() == [before]

        await manager.set_enabled("new", True)
        await manager.set_enabled("old", True)
        listed = manager.list_for_worker()

    assert [one.name for one in listed] == ["new", "old"]
    assert listed[1].sha256 != before.sha256


async def test_switching_an_unknown_plugin_is_refused(plugins):
    async with plugins.manager() as manager:
        with pytest.raises(PluginRefused) as refused:
            await manager.set_enabled("no-such", True)

    assert (refused.value.problem, refused.value.code) == ("unknown", "not_found")


async def test_a_settings_file_that_cannot_be_changed_is_named(plugins):
    (plugins.data_dir / "config.toml").write_text("plugins = 3")

    async with plugin_running(plugins, "a", HELLO) as manager:
        with pytest.raises(PluginRefused) as refused:
            await manager.set_enabled("a", False)

        assert refused.value.problem == "unwritable"
        assert manager.list_calls("easel_metrics")


async def test_the_server_refuses_an_import_that_would_bring_torch(plugins, monkeypatch):
    monkeypatch.delitem(__import__("sys").modules, "torch", raising=False)
    plugins.write("_helper", "import torch")
    code = f"""
        import importlib.util
        spec = importlib.util.spec_from_file_location("helper", {str(plugins.data_dir / "plugins" / "_helper.py")!r})
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        {HELLO}
    """

    async with plugin_running(plugins, "a", code) as manager:
        assert "the server must not import torch" in (await state_of(manager, "a")).problem


async def test_what_workers_load_is_listed_with_its_settings(plugins):
    plugins.write("off", "def easel_step(latents): ...")
    code = "SETTINGS = {'opacity': 0.5}\nimport torch\ndef easel_after_decode(pixels): ..."

    async with plugin_running(plugins, "mark", code, disabled=("off",), tables={"mark": {"opacity": 1}}) as manager:
        [listed] = manager.list_for_worker()
        manager.record_loaded("mark", ["easel_after_decode"])
        manager.record_failure("mark", "easel_after_decode", "it failed")
        state = await state_of(manager, "mark")

    assert (listed.name, listed.settings, len(listed.sha256)) == ("mark", {"opacity": 1}, 64)
    assert (state.is_running, state.worker_hooks) == (True, ["easel_after_decode"])
    assert state.last_error == "easel_after_decode: it failed"


async def test_a_plugin_that_hangs_a_worker_is_off_now_and_after_a_restart(plugins):
    code = f"def easel_step(latents): ...\n{HELLO}"

    async with plugin_running(plugins, "mark", code) as manager:
        manager.disable_for_worker("mark", "It hung.")
        state = await state_of(manager, "mark")

        assert (state.is_enabled, state.is_running, state.problem) == (False, False, "It hung.")
        assert manager.list_for_worker() == []
    assert "enabled = false" in (plugins.data_dir / "config.toml").read_text()


async def test_why_a_plugin_was_switched_off_is_known_after_a_restart_until_an_admin_switches_it(plugins):
    async with plugin_running(plugins, "mark", "def easel_step(latents): ...") as manager:
        manager.disable_for_worker("mark", "It hung.")

    async with plugin_running(plugins, "mark", "def easel_step(latents): ...", disabled=("mark",)) as manager:
        assert (await state_of(manager, "mark")).problem == "It hung."
        await manager.set_enabled("mark", True)
        assert (await state_of(manager, "mark")).problem == ""
        await manager.set_enabled("mark", False)
        assert (await state_of(manager, "mark")).problem == ""


async def test_workers_learn_of_each_switch(plugins):
    switched = []
    async with plugin_running(plugins, "mark", "def easel_step(latents): ...") as manager:
        manager.on_switched = lambda: switched.append([one.name for one in manager.list_for_worker()])
        await manager.set_enabled("mark", False)
        await manager.set_enabled("mark", True)
        manager.disable_for_worker("mark", "It hung.")

    assert switched == [[], ["mark"], []]


async def test_each_plugin_can_have_its_own_time_limit_in_workers(plugins):
    code = "SETTINGS = {'time_limit_s': 30.0}\ndef easel_step(latents): ..."
    async with plugin_running(plugins, "mark", code) as manager:
        assert [(one.time_limit_s, one.settings) for one in manager.list_for_worker()] == [(30.0, {})]


async def test_a_plugin_is_told_that_it_ends(plugins):
    code = f"{HELLO}\ndef easel_stop(plugin): (plugin.folder / 'stopped').touch()"

    async with plugin_running(plugins, "a", code):
        pass

    assert (plugins.data_dir / "plugins" / "state" / "a" / "stopped").exists()


@pytest.mark.parametrize("value", ["packaged_plugin", "packaged_plugin:Words"])
async def test_a_package_is_a_plugin_by_its_entry_points(plugins, tmp_path, monkeypatch, value):
    (tmp_path / "packaged_plugin.py").write_text(
        "SETTINGS = {'word': 'oil'}\n"
        "def easel_metrics(plugin): return {plugin.settings['word']: 1}\n"
        "class Words:\n"
        "    SETTINGS = {'word': 'ink'}\n"
        "    def easel_metrics(self, plugin): return {plugin.settings['word']: 2}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = {
        "easel.plugins": [EntryPoint("my_words", value, "easel.plugins")],
        "easel.worker_plugins": [EntryPoint("my_words", "never_imported", "easel.worker_plugins")],
    }
    manager = plugins.manager(tables={"my-words": {"word": "chalk"}})
    manager.find = partial(find_plugins, list_entry_points=points.__getitem__)

    async with manager:
        [call] = manager.list_calls("easel_metrics")
        [for_worker] = manager.list_for_worker()

        assert await call.run(dict) == {"chalk": 2 if "Words" in value else 1}
        assert (for_worker.name, for_worker.sha256, for_worker.settings) == ("my-words", "", {"word": "chalk"})
