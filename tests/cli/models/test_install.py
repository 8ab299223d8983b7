"""`easel models`, in this process and through a running server."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest

from adapters.cli.client import http_models
from adapters.cli.models import install
from bot.errors import DownloadFailed, StorageFull
from bot.models import TEXT_TO_IMAGE
from bot.ports import CheckpointInfo
from tests import model_manager_fixture as fixture
from tests.cli.app_fixture import serving

MODES = pytest.mark.parametrize("open_mode", [nullcontext, serving], ids=["local", "server"])


@pytest.fixture(autouse=True)
def frequent_polling(monkeypatch):
    monkeypatch.setattr(http_models, "POLL_INTERVAL_S", 0.01)


@pytest.fixture
def hub_errors(monkeypatch):
    """Errors that every fake hub raises, by method."""
    errors: dict[str, Exception] = {}
    init = fixture.FakeHub.__init__

    def init_with_errors(self):
        init(self)
        self.errors = errors

    monkeypatch.setattr(fixture.FakeHub, "__init__", init_with_errors)
    return errors


@MODES
def test_a_model_is_installed_tested_and_used(open_mode, call, data_dir):
    with open_mode(data_dir):
        result = call("models", "use", "fox", "--accept-licence")

    assert result.code == 0, result.err
    assert result.out == "Fox XL is in use for text-to-image.\n"
    for words in (
        "Download: 100 MiB of 100 MiB",
        "Licence: fox-1.0.",
        "Not for commercial use",
        "Test image generated in",
    ):
        assert words in result.err
    assert (data_dir / install.TEST_IMAGE_FOLDER / "fox.png").read_bytes().startswith(b"\x89PNG")
    assert "[models.fox]" in (data_dir / "config.toml").read_text()


@MODES
def test_the_licence_has_to_be_accepted(open_mode, call, data_dir):
    with open_mode(data_dir):
        result = call("models", "use", "fox")

    assert result.code == 1
    assert "add --accept-licence. https://hub.test/org/fox" in result.err
    assert not (data_dir / "config.toml").exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_a_person_at_the_terminal_is_asked(call, monkeypatch, answer, code):
    asked = []

    def ask(question):
        asked.append(question)
        return answer == "y"

    monkeypatch.setattr(install, "terminal_confirm", lambda: ask)
    result = call("models", "use", "fox")

    assert (result.code, asked) == (code, ["Do you accept this licence?"])
    assert code == 0 or "The licence was not accepted, so nothing was downloaded." in result.err


@MODES
@pytest.mark.parametrize(
    ("when", "error", "words"),
    [
        (
            "inspect_repo",
            DownloadFailed("org/fox", "gated", url="https://hub.test/org/fox"),
            "set HF_TOKEN, and run this again",
        ),
        ("download", DownloadFailed("org/fox", "stalled"), "stalled: run this again to resume it."),
        (
            "download",
            StorageFull(free_mb=1024, need_mb=2048),
            "needs 2.0 GiB on the disk, 1.0 GiB are free: free some, or",
        ),
    ],
    ids=["closed", "stalled", "full"],
)
def test_an_error_is_reported_and_the_current_model_stays(open_mode, call, data_dir, hub_errors, when, error, words):
    hub_errors[when] = error
    with open_mode(data_dir):
        result = call("models", "use", "fox", "--accept-licence", "--json")
        listed = json.loads(call("models", "list", "--json").out)["models"]

    assert result.code == 1
    assert words in json.loads(result.out)["error"]["message"]
    assert [row["name"] for row in listed if TEXT_TO_IMAGE in row["default_for"]] == ["paint"]
    assert not (data_dir / "config.toml").exists()


@MODES
def test_a_model_can_be_downloaded_for_later(open_mode, call, data_dir):
    with open_mode(data_dir):
        result = call("models", "download", "fox", "--accept-licence")

    assert result.code == 0, result.err
    assert "Fox XL is downloaded." in result.out
    assert not (data_dir / "config.toml").exists()


@MODES
def test_other_models_are_added_and_removed(open_mode, call, data_dir, folder, monkeypatch):
    (folder / "whole.safetensors").write_bytes(b"x")
    kind = CheckpointInfo(kind="single-file", tasks=(TEXT_TO_IMAGE,))
    monkeypatch.setattr(fixture.FakeFiles, "identify", lambda self, path: _return(kind))
    with open_mode(data_dir):
        added = call("models", "add", "whole.safetensors", "--name", "mine")
        again = call("models", "add", "whole.safetensors", "--name", "mine")
        removed = call("models", "remove", "mine") if open_mode is serving else None

    assert "Added mine." in added.out, added.err
    assert open_mode is nullcontext or "There is already a model called mine" in again.err
    assert f'repo = "{folder / "whole.safetensors"}"' in (data_dir / "config.toml").read_text() or removed is not None
    assert removed is None or "Removed mine" in removed.out


async def _return(value):
    return value


def test_a_lora_is_installed(call, folder, monkeypatch):
    (folder / "style.safetensors").write_bytes(b"x")
    monkeypatch.setattr(
        fixture.FakeFiles, "identify", lambda self, path: _return(CheckpointInfo(kind="lora", family="sd15"))
    )

    assert call("models", "add", "style.safetensors").out == "Installed style (lora for sd15).\n"


@MODES
def test_a_folder_is_adopted_and_each_file_is_told(open_mode, call, data_dir, folder, monkeypatch):
    (folder / "tree" / "models").mkdir(parents=True)
    for name in ("Add_Detail.safetensors", "other.safetensors"):
        (folder / "tree" / "models" / name).write_bytes(b"weights")

    def identify(self, path):
        is_lora = path.name.startswith("Add")
        return _return(
            CheckpointInfo(
                kind="lora" if is_lora else "unknown", family="sd15", reason="" if is_lora else "model without its VAE"
            )
        )

    monkeypatch.setattr(fixture.FakeFiles, "identify", identify)
    with open_mode(data_dir):
        scanned = call("models", "scan", "tree")
        missing = call("models", "scan", "nowhere")

    assert scanned.code == 0, scanned.err
    assert "adopted as LoRA add-detail for sd15" in scanned.out
    assert "skipped: other is a model without its VAE, which Easel cannot run yet." in scanned.out
    assert (missing.code, "is no folder with models" in missing.err) == (1, True)


def test_the_trigger_words_of_a_lora_from_civitai_are_told(call, folder, monkeypatch):
    info = CheckpointInfo(kind="lora", family="sd15")
    monkeypatch.setattr(fixture.FakeFiles, "identify", lambda self, path: _return(info))
    monkeypatch.setattr(fixture.FakeFiles, "download_dir", lambda self: folder)

    result = call("models", "add", fixture.CIVITAI)

    assert result.out == "Installed ink-v2 (lora for sd15).\n"
    assert "recommends these words for prompts: ink drawing." in result.err


def test_a_model_that_does_not_fit_is_refused(call, data_dir, monkeypatch):
    monkeypatch.setattr("tests.cli.app_fixture.FOX", replace(fixture.FOX, ram_mb=10**6))
    result = call("models", "use", "fox", "--accept-licence")

    assert result.code == 1
    assert "It does not fit this machine: it needs" in result.err
    assert "choose a smaller model." in result.err
    assert not (data_dir / "config.toml").exists()


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (
            {"done": 2**29, "total": 2**31, "rate": 2**18, "eta_s": 6000.0},
            "25 %, 512 MiB of 2.0 GiB, 256 KiB/s, about 2 h left",
        ),
        ({"done": 0, "total": 2**31, "rate": 0.0, "eta_s": None}, "0 %, 0 KiB of 2.0 GiB"),
    ],
)
def test_a_download_shows_bytes_rate_and_time_left(progress, line):
    status = {"title": "Fox XL", "install_progress": {"stage": "downloading", **progress}}

    assert install.format_install_progress(status) == f"Downloading Fox XL: {line}"


@MODES
def test_idle_models_are_unloaded(open_mode, call, data_dir):
    with open_mode(data_dir):
        result = call("models", "unload")
        as_json = call("models", "release", "--json")  # the old name

    assert result.code == as_json.code == 0, result.err
    assert result.out.endswith(" and freed 512 MiB.\n")
    assert {"paint", "look"} <= set(result.out.removeprefix("Unloaded ").partition(" and")[0].split(", "))
    body = json.loads(as_json.out)
    assert ("paint" in body["models"], body["busy"], body["freed_mb"]) == (True, [], 512)


@pytest.mark.parametrize("verb", ["add", "scan"])
def test_a_path_that_is_no_text_is_told(call, tmp_path, verb):
    result = call("models", verb, str(tmp_path / "caf\udce9"))

    assert result.code == 1
    assert result.err == f"easel: The path {tmp_path}/caf? is not in UTF-8: rename the file or folder.\n"


@MODES
def test_number_formats_of_an_installed_model_are_changed(open_mode, call, data_dir):
    with open_mode(data_dir):
        result = call("models", "use", "paint", "--weights", "FP8", "--precision", "bfloat16")

    assert result.code == 0, result.err
    assert result.out.endswith(", weights fp8, precision bfloat16.\n")
    settings = (data_dir / "config.toml").read_text()
    assert ('quantize = "fp8"' in settings, 'dtype = "bfloat16"' in settings) == (True, True)


@MODES
def test_a_number_format_that_cannot_run_is_refused_before_the_licence_is_asked(open_mode, call, data_dir):
    with open_mode(data_dir):
        result = call("models", "use", "fox", "--weights", "4bit")

    assert result.code == 1
    assert "Fox XL cannot be used so: quantize = '4bit' needs a denoiser in 4 bits" in result.err
    assert "licence" not in result.err.casefold()
    assert not (data_dir / "config.toml").exists()


def test_an_unknown_number_format_is_refused_with_those_there_are(call):
    result = call("models", "use", "paint", "--precision", "int4")

    assert result.code == 2
    assert "bfloat16" in result.err
