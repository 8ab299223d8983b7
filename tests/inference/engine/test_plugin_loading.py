"""What a worker loads: packages by their entry points, and settings that only the worker can check."""

import sys

import pytest

from bot.ports import WorkerPlugin
from inference.engine.plugins.plugin_host import PluginHost
from inference.ipc.plugin_messages import PluginFailed, PluginLoaded
from tests.inference.plugin_files import write_plugin
from tests.inference.support import make_task

PACKAGE = """
SETTINGS = {"strength": 0.5}

def easel_applies(plugin, task):
    (plugin.folder / "strength").write_text(str(plugin.settings["strength"]))
"""


@pytest.fixture
def sent():
    return []


@pytest.fixture
def host(tmp_path, monkeypatch, sent):
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    return PluginHost(sent.append)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs `ink_package`, whose entry point for workers is called `ink_mark`."""
    site = tmp_path / "site"
    info = site / "ink_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ink-package\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))

    def install(code, target="ink_package"):
        (site / "ink_package.py").write_text(code)
        (info / "entry_points.txt").write_text(f"[easel.worker_plugins]\nink_mark = {target}\n")

    yield install
    sys.modules.pop("ink_package", None)


def test_a_package_is_loaded_by_its_entry_point_with_its_own_defaults(host, sent, package, tmp_path):
    package(PACKAGE)
    host.set_plugins([WorkerPlugin(name="ink-mark")])
    host.start_task(make_task())

    assert PluginLoaded("ink-mark", ("easel_applies",)) in sent
    assert (tmp_path / "plugins/state/ink-mark/strength").read_text() == "0.5"


def test_an_entry_point_can_be_a_class(host, sent, package):
    package("class Hooks:\n    def easel_applies(self, task): return True", "ink_package:Hooks")
    host.set_plugins([WorkerPlugin(name="ink-mark")])

    assert PluginLoaded("ink-mark", ("easel_applies",)) in sent


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (WorkerPlugin(name="ink-mark", settings={"strenght": 1}), "has no key strenght. Did you mean strength?"),
        (WorkerPlugin(name="ink-mark", settings={"strength": "high"}), "strength must be a number"),
        (WorkerPlugin(name="other"), "No installed package has the plugin other for workers."),
        (WorkerPlugin(name="other", sha256="0" * 64), "plugins/other.py is missing."),
    ],
)
def test_what_cannot_be_loaded_is_reported_in_a_sentence(host, sent, package, wire, problem):
    package("SETTINGS = {'strength': 0.5}\ndef easel_applies(): return True")
    host.set_plugins([wire])

    [failed] = [one for one in sent if isinstance(one, PluginFailed)]
    assert problem in failed.problem


def test_a_plugin_whose_settings_or_file_changed_is_loaded_anew_and_others_are_kept(host, sent, tmp_path):
    first = write_plugin(tmp_path, "one", "SETTINGS = {'a': 1}\ndef easel_applies(): ...")
    other = write_plugin(tmp_path, "two", "def easel_applies(): ...")
    host.set_plugins([first, other])
    sent.clear()
    host.set_plugins([other, write_plugin(tmp_path, "one", "SETTINGS = {'a': 1}\ndef easel_applies(): ...", a=2)])

    assert [one.plugin for one in sent if isinstance(one, PluginLoaded)] == ["one"]
