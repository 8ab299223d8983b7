"""Plugins in a real child process, with torch-free engines: what is loaded, and what a hung or dying hook costs."""

from dataclasses import replace

import numpy
import pytest

from bot.errors import WorkerLost
from bot.models import IMAGE_CLASSIFICATION, ModelSpec
from bot.ports import SafetyRules, WorkerPlugin
from tests.inference.plugin_files import write_plugin
from tests.inference.support import collect, finish, make_task, open_pool, wait_until, wait_until_idle
from tests.moderation import SOME_WEIGHTS

pytestmark = pytest.mark.usefixtures("forked_workers")
CLASSIFIER = ModelSpec(name="classifier", tasks=(IMAGE_CLASSIFICATION,), repo=SOME_WEIGHTS)
INVERT = "def easel_after_decode(pixels): return 255 - pixels"
HANG = """
    import time

    def easel_after_decode(pixels):
        time.sleep(600)
"""
BUSY = """
    import re

    def easel_after_decode(pixels):
        re.match("(a*)*b", "a" * 60)  # holds the interpreter's lock for ever
"""
DIE = """
    import os

    def easel_after_decode(pixels):
        os._exit(3)
"""


class Plugins:
    """The enabled plugins, and what was reported of them."""

    def __init__(self, time_limit_s=20.0):
        self.time_limit_s = time_limit_s
        self.enabled: list[WorkerPlugin] = []
        self.loaded, self.failures, self.disabled = {}, [], {}

    def list_for_worker(self):
        return tuple(replace(plugin, time_limit_s=self.time_limit_s) for plugin in self.enabled)

    def record_loaded(self, name, hooks):
        self.loaded[name] = tuple(hooks)

    def record_failure(self, name, hook, sentence):
        self.failures.append((name, hook, sentence))

    def disable_for_worker(self, name, reason):
        self.enabled = [plugin for plugin in self.enabled if plugin.name != name]
        self.disabled[name] = reason


@pytest.fixture
def plugins():
    return Plugins()


@pytest.fixture
def add(plugins, tmp_path, monkeypatch):
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))

    def add(name, source, **settings):
        plugins.enabled.append(write_plugin(tmp_path, name, source, **settings))

    return add


def pixels(output):
    return numpy.frombuffer(output.images[0].media.data, numpy.uint8).astype(int)


def result(**overrides):
    return make_task(is_result=True, **overrides)


async def test_a_finished_image_is_what_the_plugins_make_of_it(plugins, add):
    async with open_pool(plugins=plugins) as pool:
        plain = pixels(await finish(pool, result()))
        add("invert-it", INVERT)
        pool.refresh_plugins()
        await wait_until(lambda: plugins.loaded)
        inverted = pixels(await finish(pool, result()))

    assert plugins.loaded == {"invert-it": ("easel_after_decode",)}
    assert (inverted == 255 - plain).all()


async def test_parts_of_a_job_are_not_changed(plugins, add):
    add("invert", INVERT)
    async with open_pool(plugins=plugins) as pool:
        part, whole = [pixels(await finish(pool, make_task(is_result=is_result))) for is_result in (False, True)]

    assert (part == 255 - whole).all()


async def test_no_plugin_lifts_a_verdict_because_what_it_made_is_checked(plugins, add):
    """The classifier of this test calls dark images adult."""
    add("darken", "def easel_after_decode(pixels): return pixels * 0")
    rules = SafetyRules(policy="block", threshold=0.5)
    factory = "tests.inference.pool.test_plugins:dark_is_adult"
    async with open_pool(plugins=plugins, classifier=CLASSIFIER, classifier_factory=factory) as pool:
        output = await finish(pool, result(rules=rules))

    assert output.images[0].nsfw == 1.0


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def easel_after_decode(pixels): raise ValueError('no')", "ValueError: no (line 1 of broken.py)"),
        ("def easel_after_decode(pixels): return pixels[:1]", "but the image is uint8 (8, 8, 3)"),
        ("def easel_after_decode(pixels): return 'image'", "must return a numpy.ndarray or None, not str"),
        ("import sys\ndef easel_after_decode(pixels): sys.exit(1)", "SystemExit: 1 (line 2 of broken.py)"),
        (
            "import asyncio\ndef easel_after_decode(pixels): raise asyncio.CancelledError",
            "CancelledError (line 2 of broken.py)",
        ),
        (
            "class Unprintable(BaseException):\n    def __str__(self): raise KeyError\n"
            "def easel_after_decode(pixels): raise Unprintable",
            "Unprintable: (its text cannot be read) (line 3 of broken.py)",
        ),
    ],
)
async def test_a_hook_that_fails_costs_its_effect_and_a_note(plugins, add, source, problem):
    add("broken", source)
    add("invert", INVERT)
    async with open_pool(plugins=plugins) as pool:
        output = await finish(pool, result())
        plugins.enabled = plugins.enabled[1:]
        pool.refresh_plugins()
        expected = await finish(pool, result())

    assert [note.partition(":")[0] for note in output.notes] == ["The plugin broken had no effect"]
    assert [one[:2] for one in plugins.failures] == [("broken", "easel_after_decode")]
    assert problem in plugins.failures[0][2]
    assert (pixels(output) == pixels(expected)).all()
    assert not plugins.disabled


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1", "It has no hooks for the worker."),
        ("async def easel_after_decode(pixels): return pixels", "neither async nor a generator"),
        ("def easel_after_decode(picture): return picture", "picture"),
        ("import sys\nsys.exit()", "SystemExit"),
        ("raise GeneratorExit", "GeneratorExit"),
    ],
)
async def test_a_plugin_that_cannot_be_loaded_stops_nothing(plugins, add, source, problem):
    add("broken", source)
    async with open_pool(plugins=plugins) as pool:
        output = await finish(pool, result())

    assert output.notes == ()
    assert plugins.failures[0][:2] == ("broken", "import")
    assert problem in plugins.failures[0][2]


async def test_a_file_that_was_changed_after_the_server_had_read_it_is_not_run(plugins, add, tmp_path):
    add("invert", INVERT)
    (tmp_path / "plugins/invert.py").write_text("def easel_after_decode(pixels): return pixels * 0")
    async with open_pool(plugins=plugins) as pool:
        await finish(pool, result())

    assert "was changed after the server had read it" in plugins.failures[0][2]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (HANG, "easel_after_decode took over 1 s"),
        (BUSY, "easel_after_decode took over 1 s"),
        (DIE, "easel_after_decode ended the worker (exit status 3)"),
    ],
    ids=["hangs", "holds the lock", "ends the process"],
)
async def test_a_hook_that_never_returns_costs_a_restart_and_is_disabled_and_the_job_has_no_fault(
    plugins, add, source, reason
):
    plugins.time_limit_s = 1.0
    add("bad", source)
    async with open_pool(plugins=plugins) as pool:
        with pytest.raises(WorkerLost) as lost:
            await collect(pool, result())
        await wait_until_idle(pool)
        again = await finish(pool, result())

    assert (lost.value.plugin, lost.value.was_alone) == ("bad", False)
    assert plugins.disabled["bad"].startswith(f"{reason}, so the plugin was switched off.")
    assert again.notes == ()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("while True: pass", "The import took over 0.5 s"),
        ("import os; os._exit(3)", "The import ended the worker (exit status 3)"),
    ],
    ids=["hangs", "ends the process"],
)
async def test_an_import_that_never_returns_disables_the_plugin_and_the_worker_starts(plugins, add, fault, reason):
    plugins.time_limit_s = 0.05
    add("bad", f"{fault}\ndef easel_after_decode(pixels): return pixels")
    async with open_pool(plugins=plugins) as pool:
        await wait_until(lambda: plugins.disabled)
        await wait_until_idle(pool)
        output = await finish(pool, result())

    assert plugins.disabled["bad"].startswith(f"{reason}, so the plugin was switched off.")
    assert output.images


async def test_a_crash_outside_of_hooks_is_blamed_on_no_plugin(plugins, add):
    add("invert", INVERT)
    async with open_pool(plugins=plugins) as pool:
        with pytest.raises(WorkerLost) as lost:
            await collect(pool, result(prompt="crash"))

    assert lost.value.plugin == ""
    assert not plugins.disabled


def dark_is_adult(_classifier):
    return lambda image: float(max(high for _, high in image.getextrema()) == 0)
