"""`easel keys`, `db` and `models list`, in this process and through a running server."""

import json
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

from bot.models import ModelRegistry
from bot.runtime.lock import DataLock
from tests.cli.app_fixture import MODELS, serving
from tests.model_manager_fixture import FOX

MODES = pytest.mark.parametrize("open_mode", [nullcontext, serving], ids=["local", "server"])


@MODES
def test_a_key_is_alone_on_stdout_and_listed_without_its_secret(open_mode, call, data_dir):
    with open_mode(data_dir):
        created = call("keys", "create", "--person", "Ann", "--admin")
        listed = call("keys", "list")

    prefix, secret = created.out.strip().split(".")
    assert created.code == 0
    assert "Ann" in created.err
    assert prefix in listed.out
    assert re.search(rf"^{prefix} +Ann +admin +\d{{4}}-\d\d-\d\d +never +active$", listed.out, re.MULTILINE)
    assert secret not in listed.out + listed.err + created.err


@MODES
def test_a_key_is_revoked_by_its_prefix_or_by_the_whole_key_which_is_not_printed(open_mode, call, data_dir):
    with open_mode(data_dir):
        key = call("keys", "create").out.strip()
        revoked = call("keys", "revoke", key)
        listed = json.loads(call("keys", "list", "--json").out)["keys"]

    prefix, secret = key.split(".")
    assert revoked.code == 0
    assert prefix in revoked.out
    assert secret not in revoked.out
    assert listed[0]["revoked_at"]


def test_an_unknown_key_cannot_be_revoked(call):
    result = call("keys", "revoke", "deadbeef")

    assert (result.code, result.err) == (1, "easel: You have no key called deadbeef.\n")


def test_a_key_needs_a_valid_name(call):
    result = call("keys", "create", "--person", " ")

    assert (result.code, result.out) == (2, "")


def test_an_empty_list_of_keys_is_explained(call):
    result = call("keys", "list")

    assert (result.code, result.out) == (0, "")
    assert "There are no API keys" in result.err


def test_secrets_of_the_command_line_are_in_no_log(call, data_dir):
    key = call("keys", "create").out.strip()

    logs = "".join(path.read_text() for path in (data_dir / "logs").glob("*"))
    assert key.split(".")[1] not in logs


@MODES
def test_a_backup_is_written_and_named_on_stdout(open_mode, call, data_dir, folder):
    (folder / "copies").mkdir()
    with open_mode(data_dir):
        result = call("db", "backup", "copies")
        named = call("db", "backup", "copy.db")

    assert result.code == named.code == 0, result.err
    for path in (Path(result.out.strip()), folder / "copy.db"):
        assert path.read_bytes().startswith(b"SQLite format 3")


@MODES
def test_a_backup_overwrites_nothing(open_mode, call, data_dir, folder):
    (folder / "mine").write_text("mine")
    with open_mode(data_dir):
        result = call("db", "backup", "mine")
        nowhere = call("db", "backup", "nowhere/copy.db")

        no_folder = [call("db", "backup", name) for name in ("backups", "backups.d/")]

    assert [one.code for one in (result, nowhere, *no_folder)] == [2] * 4
    assert "already exists" in result.err
    assert "does not exist: create it first" in nowhere.err
    assert f"There is no folder {folder / 'backups'}: create it first, or name a new file" in no_folder[0].err
    assert f"There is no folder {folder / 'backups.d'}: create it first" in no_folder[1].err
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("backups")) == []
    assert (folder / "mine").read_text() == "mine"


@MODES
def test_an_intact_database_passes_the_check(open_mode, call, data_dir):
    with open_mode(data_dir):
        result = call("db", "check")

    assert (result.code, result.out) == (0, "The database is intact.\n")


def test_the_database_is_upgraded(call):
    result = call("db", "upgrade")

    assert result.code == 0
    assert result.out == "The database is up to date.\n"


def test_the_database_is_not_upgraded_under_a_server(call, data_dir):
    with serving(data_dir):
        result = call("db", "upgrade")

    assert (result.code, result.out) == (1, "")
    assert "Easel is already running on" in result.err


def test_a_holder_without_an_address_is_waited_for_and_then_named(call, data_dir, monkeypatch):
    monkeypatch.setattr("adapters.cli.client.open.START_WAIT_S", 0.2)
    with DataLock(data_dir):
        result = call("keys", "list")

    assert result.code == 1
    assert "waiting for it" in result.err
    assert "has not published its address" in result.err


def test_models_are_listed_with_their_tasks(call):
    result = call("models", "list")

    assert result.code == 0
    assert re.split(" {2,}", result.out.splitlines()[0]) == ["Name", "Tasks", "Runs on", "Disk", "Source"]
    assert re.search(
        r"^paint +text-to-image \(default\), image-to-image \(default\) +torch +- +paint \(demo\)$",
        result.out,
        re.MULTILINE,
    )
    assert "paint: the folder" in result.out


def test_models_as_json_say_whether_they_are_usable(call):
    result = call("models", "list", "--json")

    models = {model["name"]: model for model in json.loads(result.out)["models"]}
    assert models["look"]["default_for"] == ["image-to-text", "visual-question-answering"]
    assert models["look"]["is_usable"] is False
    assert models["look"]["disk_bytes"] == 0


def test_a_presets_limits_are_shown_once(call, composition, monkeypatch):
    load, old = composition.load, replace(FOX, name="old", licences=("OPT: not for commercial use",))
    models = ModelRegistry({"fox": FOX, "old": old})
    monkeypatch.setattr(composition, "load", lambda config: replace(load(config), models=models))

    assert call("models", "list").out.splitlines() == [
        "Name  Tasks  Runs on  Disk  Source",
        "Name  Tasks          Disk  Download  Licence",
        "fox   text-to-image  -     100 MiB   fox-1.0, not for commercial use",
        "old   text-to-image  -     100 MiB   OPT: not for commercial use",
    ]


def test_the_disk_usage_of_models_is_shown(call, composition, tmp_path, monkeypatch):
    whole, load = tmp_path / "whole.safetensors", composition.load
    save_file({"a": numpy.zeros(2**19, dtype=numpy.float32)}, whole)
    spec = replace(MODELS[0], repo=str(whole))
    monkeypatch.setattr(
        composition, "load", lambda config: replace(load(config), models=ModelRegistry({"paint": spec}))
    )

    (model,) = json.loads(call("models", "list", "--json").out)["models"]
    assert (model["disk_bytes"], model["is_usable"]) == (whole.stat().st_size, True)
    assert re.search(rf" 2 MiB +{whole} \(demo\)$", call("models", "list").out, re.MULTILINE)
