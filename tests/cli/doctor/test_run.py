"""`doctor` on an intact installation, and with each thing that can be broken."""

import json
import os
import socket
import sqlite3
import struct
from dataclasses import replace

import pytest

from adapters.cli.doctor.data import find_database
from adapters.cli.doctor.system import check_hardware
from adapters.web import WebSettings
from bot.errors import ConfigError
from bot.models import ModelRegistry
from storage import StorageSettings
from tests.cli.app_fixture import MODELS, serving


def safetensors(extra=b"", **entry):
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | entry}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0\0\0\0" + extra


def make_model(folder, *, weights="model.safetensors", data=None, description='{"a": 1}'):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(description, encoding="utf-8")
    (folder / weights).write_bytes(safetensors() if data is None else data)
    return folder


@pytest.fixture
def models(data_dir):
    """Valid folders of the test models, in the data directory."""
    return {name: make_model(data_dir / name) for name in ("paint", "look", "judge")}


def lines(result):
    return [line.strip() for line in result.out.splitlines()]


def marked(result, mark):
    return [line for line in lines(result) if line.startswith(f"{mark} ")]


@pytest.mark.usefixtures("models")
def test_an_intact_installation_has_no_problems(call):
    result = call("doctor")

    assert result.code == 0, result.out
    assert marked(result, "bad") == []
    assert "No problems found" in result.out
    assert any("Device cpu" in line for line in lines(result))


@pytest.mark.usefixtures("models")
def test_an_intact_installation_has_no_problems_while_a_server_runs(call, data_dir):
    with serving(data_dir) as url:
        result = call("doctor")

    assert result.code == 0, result.out
    assert any(f"A server is running at {url}" in line for line in lines(result))


@pytest.mark.usefixtures("models")
def test_without_a_key_doctor_asks_for_one_before_a_proxy_is_set_up(call, data_dir):
    def keys():
        [sentence] = [c["sentence"] for c in json.loads(call("doctor", "--json").out)["checks"] if c["about"] == "keys"]
        return sentence

    keyless = keys()
    prefix = call("keys", "create").out.partition(".")[0]
    active = keys()
    call("keys", "revoke", prefix)
    locked = keys()
    call("keys", "unlock")

    assert keys() == keyless
    assert "before you set up one, run `easel keys create`" in keyless
    assert active == "Active API keys: 1."
    assert "easel keys unlock" in locked


@pytest.mark.usefixtures("models")
def test_doctor_leaves_nothing_behind(call, data_dir):
    before = sorted(data_dir.rglob("*"))

    call("doctor")

    assert sorted(data_dir.rglob("*")) == before


@pytest.mark.usefixtures("models")
def test_json_contains_every_check(call):
    result = call("doctor", "--json")

    content = json.loads(result.out)
    assert content["ok"] is True
    assert {check["about"] for check in content["checks"]} >= {"hardware", "models", "database", "tokens", "server"}


def test_a_missing_model_is_bad(call):
    result = call("doctor")

    assert result.code == 1
    assert len(marked(result, "bad")) == 3


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"weights": "model.bin"}, "only safetensors are loaded"),
        ({"data": safetensors()[:-2]}, "is truncated"),
        ({"data": b"version https://git-lfs.github.com/spec/v1\n"}, "git lfs pull"),
        ({"data": b"abc"}, "is not a safetensors file"),
        ({"data": (200_000).to_bytes(8, "little") + b"[" * 200_000}, "is not a safetensors file"),
        ({"data": safetensors(shape=[1e400])}, "of an impossible shape"),
        ({"data": safetensors(shape=[-1, 768])}, "of an impossible shape"),
        ({"data": safetensors(data_offsets=[0, 1e400])}, "where they cannot be"),
        ({"data": safetensors(data_offsets=7)}, "where they cannot be"),
        ({"description": "{"}, "is not readable JSON"),
        ({"description": "[" * 200_000}, "is not readable JSON"),
        ({"description": "\ufeff{}"}, "byte order mark"),
    ],
)
def test_a_model_that_would_not_load_is_bad(call, models, data_dir, broken, sentence):
    for path in models["paint"].iterdir():
        path.unlink()
    models["paint"].rmdir()
    make_model(data_dir / "paint", **broken)

    result = call("doctor")

    assert result.code == 1
    (bad,) = marked(result, "bad")
    assert "paint" in bad
    assert sentence in bad


def test_ignored_weights_are_only_a_warning_next_to_valid_ones(call, models):
    (models["paint"] / "old.ckpt").write_bytes(b"pickle")

    result = call("doctor")

    assert result.code == 0
    assert any("only safetensors are loaded: old.ckpt" in line for line in marked(result, "warn"))


def test_a_model_of_the_hub_is_found_in_its_cache(call, composition, models, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    make_model(tmp_path / "hf" / "hub" / "models--org--paint" / "snapshots" / "0a1b")
    load = composition.load

    def load_hub(config):
        spec = replace(MODELS[0], repo="org/paint")
        return replace(load(config), models=ModelRegistry({"paint": spec, "look": MODELS[1]}))

    monkeypatch.setattr(composition, "load", load_hub)
    result = call("doctor")

    assert result.code == 0, result.out


@pytest.mark.usefixtures("models")
def test_a_port_in_use_is_bad(call, composition):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        composition.settings["web"] = WebSettings(port=listener.getsockname()[1])
        result = call("doctor")

    assert result.code == 1
    (bad,) = marked(result, "bad")
    assert "choose another web.port" in bad


@pytest.mark.usefixtures("models")
def test_a_public_address_is_a_warning(call, composition):
    composition.settings["web"] = WebSettings(host="0.0.0.0", port=0)

    result = call("doctor")

    assert any("API key" in line for line in marked(result, "warn"))


@pytest.mark.usefixtures("models")
def test_a_damaged_database_is_bad(call, data_dir):
    (data_dir / "easel.db").write_bytes(b"no database at all" * 100)

    result = call("doctor")

    assert result.code == 1
    assert any("cannot be read" in line for line in marked(result, "bad"))


@pytest.mark.usefixtures("models")
def test_a_full_disk_is_bad(call, composition):
    composition.settings["storage"] = StorageSettings(min_free_mb=10**9)

    result = call("doctor")

    assert any("new jobs are refused" in line for line in marked(result, "bad"))


def test_a_data_directory_that_is_a_file_is_bad(call, composition, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "file"))
    composition.failures["load"] = ConfigError(["The data directory is no folder."])

    result = call("doctor")

    assert result.code == 1
    assert any("is no folder" in line for line in marked(result, "bad"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_directory_that_cannot_be_written_is_bad(call, data_dir):
    data_dir.chmod(0o500)

    result = call("doctor")

    assert any("is not writable" in line for line in marked(result, "bad"))


def test_invalid_settings_are_reported_and_the_rest_is_still_checked(call, composition):
    composition.failures["load"] = ConfigError(["config.toml: line 3: this is not TOML."])

    result = call("doctor")

    assert result.code == 1
    assert any("this is not TOML" in line for line in marked(result, "bad"))
    assert any("The data directory is" in line for line in marked(result, "ok"))
    assert any("Device cpu" in line for line in marked(result, "ok"))


@pytest.mark.usefixtures("models")
def test_tokens_are_reported_without_their_value(call, data_dir, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_canarycanarycanarycanary")
    (data_dir / "secrets.env").write_text("DISCORD_TOKEN=canary-discord-token\n")
    (data_dir / "secrets.env").chmod(0o600)

    result = call("doctor")

    assert any("DISCORD_TOKEN is set (by secrets.env)" in line for line in marked(result, "ok"))
    assert any("HF_TOKEN is set (by HF_TOKEN)" in line for line in marked(result, "ok"))
    assert any("TELEGRAM_BOT_TOKEN is not set" in line for line in marked(result, "ok"))
    assert "canary" not in result.out + result.err


def test_a_data_directory_behind_a_link_that_others_can_read_is_reported(call, data_dir, tmp_path, monkeypatch):
    data_dir.chmod(0o777)
    (tmp_path / "link").symlink_to(data_dir)
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "link"))

    result = call("doctor")

    assert any(f"run `chmod 700 {data_dir.resolve()}`" in line for line in marked(result, "warn"))


def test_a_lock_that_is_a_link_is_bad_as_no_server_starts_with_it(call, data_dir, tmp_path):
    (data_dir / "easel.lock").symlink_to(tmp_path / "elsewhere")

    result = call("doctor")

    assert any("easel.lock is a link" in line for line in marked(result, "bad"))


@pytest.mark.usefixtures("models")
def test_secrets_that_others_can_read_are_bad(call, data_dir):
    (data_dir / "secrets.env").write_text("DISCORD_TOKEN=canary\n")
    (data_dir / "secrets.env").chmod(0o644)

    result = call("doctor")

    assert result.code == 1
    assert any("chmod 600" in line for line in marked(result, "bad"))
    assert "canary" not in result.out


@pytest.mark.usefixtures("models")
def test_hugging_face_variables_are_shown_without_passwords(call, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://ann:canary@hub.example/x")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    result = call("doctor")

    assert any("HF_ENDPOINT is https://hub.example/x." in line for line in lines(result))
    assert any("HF_HUB_OFFLINE is 1." in line for line in lines(result))
    assert "canary" not in result.out


@pytest.mark.usefixtures("models")
def test_a_torch_that_does_not_answer_is_bad(call, composition):
    composition.devices = {"devices": [{"name": "cpu", "kind": "cpu", "title": "", "memory_mb": 0}]}

    result = call("doctor")

    assert result.code == 1
    assert any("torch did not answer" in line for line in marked(result, "bad"))


@pytest.mark.usefixtures("models")
def test_a_check_that_raises_is_one_bad_line(call, composition):
    composition.failures["probe_devices"] = RuntimeError("no child")

    result = call("doctor")

    assert result.code == 1
    assert any("This check failed itself" in line for line in marked(result, "bad"))
    assert any("A server" in line or "No server" in line for line in lines(result))


def test_a_database_is_checked_while_a_server_writes(data_dir):
    from adapters.cli.doctor.data import find_database_problems

    with serving(data_dir):
        assert find_database_problems(data_dir / "easel.db") == []
    with sqlite3.connect(data_dir / "easel.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", "/data/easel.db"),
        ("sqlite:////srv/easel.db", "/srv/easel.db"),
        ("sqlite+aiosqlite:////srv/an%20easel.db", "/srv/an easel.db"),
        ("sqlite:///easel.db", "easel.db"),
        ("sqlite://", None),
        ("postgresql://ann:pw@db/easel", None),
    ],
)
def test_the_database_file_is_the_one_of_the_url(url, path, tmp_path):
    from pathlib import Path

    assert find_database(url, Path("/data")) == (Path(path) if path else None)


@pytest.mark.parametrize(
    ("devices", "sentence"),
    [
        ([{"name": "cpu", "kind": "cpu", "memory_mb": 1, "bfloat16": True}], "has bfloat16 instructions"),
        ([{"name": "cpu", "kind": "cpu", "memory_mb": 1}], "models compute in float32"),
        ([{"name": "cuda:0", "kind": "cuda", "memory_mb": 1, "bfloat16": True}], ""),
    ],
)
def test_on_a_machine_without_a_gpu_doctor_says_whether_bfloat16_can_be_quicker(devices, sentence):
    said = [check.sentence for check in check_hardware(devices)]

    assert any(sentence in one for one in said)
    assert any("bfloat16" in one for one in said) is bool(sentence)
