"""`easel models list`, `use --adapter` and `remove` with adapters, in this process and through a running server."""

import asyncio
import json
from contextlib import nullcontext
from typing import Any

import pytest

from bot.settings.overlay import Overlay
from storage import open_storage
from tests.cli.app_fixture import STORAGE, serving
from tests.storage.test_adapters import make_adapter

FAILED: dict[str, Any] = {"gain": 8, "needed_gain": 20, "loss": 0.5, "allowed_loss": 2}


@pytest.fixture
def adapters(data_dir):
    """The model "look" has "birds", which passed its test, and "failed"."""

    async def save() -> None:
        async with open_storage(STORAGE, data_dir) as storage:
            for name, state, report in (("birds", "accepted", {}), ("failed", "rejected", FAILED)):
                scores = {"new_before": 2, "new_after": 95, "old_before": 99, "old_after": 98}
                report = report | {which: {"right": right, "total": 100} for which, right in scores.items()}
                record = make_adapter(name, model="look", revision="", state=state, report=report)
                await storage.adapters.save_adapter(record, [])
                folder = data_dir / "adapters" / name
                folder.mkdir(parents=True)
                (folder / "adapter_model.safetensors").touch()

    asyncio.run(save())


@pytest.mark.usefixtures("adapters")
@pytest.mark.parametrize("open_mode", [nullcontext, serving], ids=["local", "server"])
def test_an_adapter_is_listed_switched_and_removed(open_mode, call, data_dir):
    with open_mode(data_dir):
        listed = call("models", "list")
        body = json.loads(call("models", "list", "--json").out)["adapters"]
        on = call("models", "use", "look", "--adapter", "birds")
        written = list(Overlay(data_dir / "config.toml").model_tables()["look"]["adapters"])
        off = json.loads(call("models", "use", "look", "--adapter", "none", "--json").out)
        refused = call("models", "use", "look", "--adapter", "brids")
        combined = call("models", "use", "look", "--adapter", "birds", "--weights", "8bit")
        removed = call("models", "remove", "birds")
        left = json.loads(call("models", "list", "--json").out)["adapters"]

    assert "birds   look   off" in listed.out
    assert "new 2 \u2192 95 / 100, old 99 \u2192 98 / 100" in listed.out
    assert "It did not pass its test. New answers changed by +8 points; a rise of 20 is needed." in listed.out
    assert [(one["name"], one["state"], bool(one["problem"])) for one in body] == [
        ("birds", "accepted", False),
        ("failed", "rejected", True),
    ]
    assert (on.out, written) == ("look uses the adapter birds from the next request on.\n", ["birds"])
    assert off["adapters"] == []
    assert "Did you mean birds?" in refused.err
    assert (combined.code, "cannot be combined" in combined.err) == (2, True)
    assert removed.out.startswith("Removed birds")
    assert [one["name"] for one in left] == ["failed"]
