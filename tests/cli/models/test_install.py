"""`models use`, `download`, `add` and `remove`, alone and through a server that runs."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

from adapters.cli.client import http_models
from adapters.cli.models import install
from bot.errors import DownloadFailed, StorageFull
from bot.models import TEXT_TO_IMAGE
from bot.ports import Kind
from tests import model_manager_fixture as town
from tests.cli.app_fixture import serving

WAYS = pytest.mark.parametrize("open_way", [nullcontext, serving], ids=["alone", "through a server"])


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(http_models, "LOOK_EVERY_S", 0.01)


@pytest.fixture
def hubs(monkeypatch):
    """`hubs.errors` are those of every house's hub."""
    errors: dict[str, Exception] = {}
    start = town.FakeHub.__init__

    def prepared(self):
        start(self)
        self.errors = errors

    monkeypatch.setattr(town.FakeHub, "__init__", prepared)
    return errors


@WAYS
def test_a_model_is_fetched_tried_and_used(open_way, call, data_dir):
    with open_way(data_dir):
        said = call("models", "use", "fox", "--accept-licence")

    assert said.code == 0, said.err
    assert said.out == "Fox XL is in use for text-to-image.\n"
    for words in ("To fetch: 100 MiB of 100 MiB", "Licence: fox-1.0.", "not for commercial use", "A test picture took"):
        assert words in said.err
    assert (data_dir / install.TRIALS / "fox.png").read_bytes().startswith(b"\x89PNG")
    assert "[models.fox]" in (data_dir / "config.toml").read_text()


@WAYS
def test_the_licence_has_to_be_accepted(open_way, call, data_dir):
    with open_way(data_dir):
        said = call("models", "use", "fox")

    assert said.code == 1
    assert "add --accept-licence. https://hub.test/org/fox" in said.err
    assert not (data_dir / "config.toml").exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_a_person_at_the_terminal_is_asked(call, monkeypatch, answer, code):
    asked = []

    def ask(question):
        asked.append(question)
        return answer == "y"

    monkeypatch.setattr(install, "asker", lambda: ask)
    said = call("models", "use", "fox")

    assert (said.code, asked) == (code, ["Do you accept this licence?"])
    assert code == 0 or "The licence was not accepted, so nothing was fetched." in said.err


@WAYS
@pytest.mark.parametrize(
    ("when", "error", "words"),
    [
        (
            "look",
            DownloadFailed("org/fox", "gated", url="https://hub.test/org/fox"),
            "set HF_TOKEN, and run this again",
        ),
        ("fetch", DownloadFailed("org/fox", "stalled"), "stands still: run this again; it goes on from here."),
        (
            "fetch",
            StorageFull(free_mb=1024, need_mb=2048),
            "needs 2.0 GiB on the disk, 1.0 GiB are free: free some, or",
        ),
    ],
    ids=["closed", "stalled", "full"],
)
def test_what_goes_wrong_is_told_and_the_old_model_stays(open_way, call, data_dir, hubs, when, error, words):
    hubs[when] = error
    with open_way(data_dir):
        said = call("models", "use", "fox", "--accept-licence", "--json")
        listed = json.loads(call("models", "list", "--json").out)["models"]

    assert said.code == 1
    assert words in json.loads(said.out)["error"]["message"]
    assert [row["name"] for row in listed if TEXT_TO_IMAGE in row["default_for"]] == ["paint"]
    assert not (data_dir / "config.toml").exists()


@WAYS
def test_a_model_can_be_fetched_for_later(open_way, call, data_dir):
    with open_way(data_dir):
        said = call("models", "download", "fox", "--accept-licence")

    assert said.code == 0, said.err
    assert "Fox XL is here." in said.out
    assert not (data_dir / "config.toml").exists()


@WAYS
def test_others_are_added_and_taken_away(open_way, call, data_dir, folder, monkeypatch):
    (folder / "whole.safetensors").write_bytes(b"x")
    kind = Kind(kind="single-file", tasks=(TEXT_TO_IMAGE,))
    monkeypatch.setattr(town.FakeFiles, "recognise", lambda self, path: _soon(kind))
    with open_way(data_dir):
        added = call("models", "add", "whole.safetensors", "--name", "mine")
        again = call("models", "add", "whole.safetensors", "--name", "mine")
        removed = call("models", "remove", "mine") if open_way is serving else None

    assert "mine is known now." in added.out, added.err
    assert open_way is nullcontext or "There is a mine already" in again.err
    assert f'repo = "{folder / "whole.safetensors"}"' in (data_dir / "config.toml").read_text() or removed is not None
    assert removed is None or "mine is removed" in removed.out


async def _soon(value):
    return value


def test_a_lora_is_kept_and_named(call, folder, monkeypatch):
    (folder / "style.safetensors").write_bytes(b"x")
    monkeypatch.setattr(town.FakeFiles, "recognise", lambda self, path: _soon(Kind(kind="lora", family="sd15")))

    assert call("models", "add", "style.safetensors").out == "style is kept (lora for sd15).\n"


def test_what_cannot_be_had_here_is_refused(call, data_dir, monkeypatch):
    monkeypatch.setattr("tests.cli.app_fixture.FOX", replace(town.FOX, ram_mb=10**6))
    said = call("models", "use", "fox", "--accept-licence")

    assert said.code == 1
    assert "It does not fit this machine: it needs" in said.err
    assert "choose a smaller model." in said.err
    assert not (data_dir / "config.toml").exists()


@pytest.mark.parametrize(
    ("arrival", "line"),
    [
        (
            {"done": 2**29, "total": 2**31, "rate": 2**18, "eta_s": 6000.0},
            "25 %, 512 MiB of 2.0 GiB, 256 KiB/s, about 2 h left",
        ),
        ({"done": 0, "total": 2**31, "rate": 0.0, "eta_s": None}, "0 %, 0 KiB of 2.0 GiB"),
    ],
)
def test_a_download_says_bytes_rate_and_time_left(arrival, line):
    standing = {"title": "Fox XL", "arrival": {"stage": "downloading", **arrival}}

    assert install.arrival_line(standing) == f"Downloading Fox XL: {line}"


@WAYS
def test_the_memory_of_idle_models_is_given_back(open_way, call, data_dir):
    with open_way(data_dir):
        said = call("models", "release")
        told = call("models", "release", "--json")

    assert said.code == told.code == 0, said.err
    assert said.out.endswith(": unloaded, 512 MiB are free again.\n")
    assert {"paint", "look"} <= set(said.out.split(":")[0].split(", "))
    told = json.loads(told.out)
    assert ("paint" in told["models"], told["busy"], told["freed_mb"]) == (True, [], 512)
