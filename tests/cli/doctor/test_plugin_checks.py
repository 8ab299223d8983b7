"""`doctor` lists plugins with what is wrong with them, without running any."""

from types import SimpleNamespace
from typing import Any

from adapters.cli.doctor.check import BAD, OK, WARN
from adapters.cli.doctor.plugin_checks import check_plugins
from bot.plugins.plugin_settings import PluginsSettings
from bot.plugins.switch_off_reasons import SwitchOffReasons
from tests.cli.app_fixture import serving
from tests.plugins.plugin_fixture import PluginFolder

HOOK = "def easel_metrics(): ..."


def check(data_dir, settings=None):
    loaded: Any = SimpleNamespace(data_dir=data_dir, settings={"plugins": settings or PluginsSettings()})
    return [(one.mark, one.sentence) for one in check_plugins(loaded)]


def test_what_is_wrong_is_said_without_running_a_plugin(tmp_path):
    folder = PluginFolder(tmp_path)
    folder.write("broken", "def easel_prompt(:")
    folder.write("loud", "raise RuntimeError\n" + HOOK)
    folder.write("off", HOOK)
    folder.write("slow", HOOK)
    folder.write("typo", HOOK)
    SwitchOffReasons(tmp_path).write("slow", "easel_step took over 5 s.")
    settings = PluginsSettings(order=("gone",), disabled=("off", "slow")).with_tables({"typo": {"wrd": 1}})

    assert check(tmp_path, settings) == [
        (BAD, "The plugin broken is not used: Line 1: invalid syntax."),
        (OK, "The plugin loud is switched on (plugins/loud.py)."),
        (OK, "The plugin off is switched off."),
        (WARN, "The plugin slow is not used: easel_step took over 5 s."),
        (BAD, "The plugin typo is not used: plugins.typo has no key wrd. Known: enabled, time_limit_s."),
        (WARN, "The settings name a plugin gone, which is not there."),
    ]


def test_a_running_server_says_what_failed_in_it(data_dir):
    PluginFolder(data_dir).write("broken", "1 / 0\n" + HOOK)
    with serving(data_dir):
        found = check(data_dir)

    assert found == [
        (BAD, "The plugin broken is not used: It cannot be started: import: ZeroDivisionError: division by zero")
    ]


def test_without_plugins_nothing_is_said(tmp_path):
    assert check(tmp_path) == []
