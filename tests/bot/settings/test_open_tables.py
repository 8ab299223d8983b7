"""`[plugins]` has keys of its own and a table for each plugin, with whatever that knows."""

import pytest

from bot.errors import ConfigError
from bot.models import ModelSettings
from bot.plugins.plugin_settings import PluginsSettings
from bot.settings import read_settings


def read(tmp_path, *texts, **environ):
    files = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        files.append(path)
    settings = read_settings({"plugins": PluginsSettings}, model_type=ModelSettings, files=files, environ=environ)
    return settings["plugins"]


def test_tables_of_several_layers_are_merged(tmp_path):
    plugins = read(
        tmp_path,
        "[plugins]\norder = ['b', 'a']\n[plugins.a]\nword = 'oil'\ntimes = 2\n",
        "[plugins.a]\ntimes = 3\n[plugins.b]\nenabled = false\n",
        EASEL_PLUGINS__TIME_LIMIT_S="2.5",
        EASEL_PLUGINS__ADD_DATE__FORMAT="short",
        EASEL_PLUGINS__A__WORDS='["x", "y"]',
    )

    assert (plugins.order, plugins.time_limit_s) == (("b", "a"), 2.5)
    assert plugins.tables == {
        "a": {"word": "oil", "times": 3, "words": ["x", "y"]},
        "b": {"enabled": False},
        "add-date": {"format": "short"},
    }
    assert [plugins.is_enabled(name) for name in ("a", "b", "c")] == [True, False, True]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[plugins]\nordr = []\n", "plugins has no key ordr. Did you mean order?"),
        ("[plugins]\ntime_limit_s = 0\n", "plugins.time_limit_s is 0, but must be a number from 0.05 to 600."),
        ("[plugins.'Bad Name']\nx = 1\n", "plugins.Bad Name: a plugin's name has only a to z, 0 to 9 and -."),
        ("[plugins.order]\nx = 1\n", "plugins.order is a table, but must be a list, each text."),
    ],
)
def test_what_is_no_setting_of_plugins_is_refused_by_name(tmp_path, text, problem):
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)

    assert problem in refused.value.problems[0]


def test_without_any_setting_every_plugin_is_on(tmp_path):
    plugins = read(tmp_path, "")

    assert (plugins, plugins.tables, plugins.is_enabled("a")) == (PluginsSettings(), {}, True)
