"""Keys, the database and the list of models, alone and through a server."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

from bot.models import Models
from bot.runtime.lock import DataLock
from tests.cli.app_fixture import MODELS, serving
from tests.model_manager_fixture import FOX

WAYS = pytest.mark.parametrize("open_way", [nullcontext, serving], ids=["alone", "through a server"])


@WAYS
def test_a_key_is_alone_on_stdout_and_listed_without_its_secret(open_way, call, data_dir):
    with open_way(data_dir):
        made = call("keys", "create", "--person", "Ann", "--admin")
        listed = call("keys", "list")

    prefix, secret = made.out.strip().split(".")
    assert made.code == 0
    assert "Ann" in made.err
    assert prefix in listed.out
    assert "Ann, admin" in listed.out
    assert secret not in listed.out + listed.err + made.err


@WAYS
def test_a_key_is_ended_by_its_prefix_or_by_the_whole_key_which_is_not_repeated(open_way, call, data_dir):
    with open_way(data_dir):
        key = call("keys", "create").out.strip()
        ended = call("keys", "revoke", key)
        listed = json.loads(call("keys", "list", "--json").out)["keys"]

    prefix, secret = key.split(".")
    assert ended.code == 0
    assert prefix in ended.out
    assert secret not in ended.out
    assert listed[0]["revoked_at"]


def test_a_key_that_is_not_there_cannot_be_ended(call):
    said = call("keys", "revoke", "deadbeef")

    assert (said.code, said.err) == (1, "easel: You have no key called deadbeef.\n")


def test_a_key_needs_a_name_that_is_one(call):
    said = call("keys", "create", "--person", " ")

    assert (said.code, said.out) == (2, "")


def test_no_keys_are_said_so(call):
    said = call("keys", "list")

    assert (said.code, said.out) == (0, "")
    assert "There are no keys." in said.err


def test_secrets_of_the_command_line_are_in_no_log(call, data_dir):
    key = call("keys", "create").out.strip()

    logs = "".join(path.read_text() for path in (data_dir / "logs").glob("*"))
    assert key.split(".")[1] not in logs


@WAYS
def test_a_backup_is_written_and_named_on_stdout(open_way, call, data_dir, folder):
    (folder / "copies").mkdir()
    with open_way(data_dir):
        said = call("db", "backup", "copies")
        named = call("db", "backup", "copy.db")

    assert said.code == named.code == 0, said.err
    for path in (Path(said.out.strip()), folder / "copy.db"):
        assert path.read_bytes().startswith(b"SQLite format 3")


@WAYS
def test_a_backup_overwrites_nothing(open_way, call, data_dir, folder):
    (folder / "mine").write_text("mine")
    with open_way(data_dir):
        said = call("db", "backup", "mine")
        nowhere = call("db", "backup", "nowhere/copy.db")

    assert said.code == nowhere.code == 2
    assert "is there already" in said.err
    assert "There is no folder" in nowhere.err
    assert (folder / "mine").read_text() == "mine"


@WAYS
def test_a_sound_database_is_well(open_way, call, data_dir):
    with open_way(data_dir):
        said = call("db", "check")

    assert (said.code, said.out) == (0, "The database is well.\n")


def test_the_database_is_upgraded(call):
    said = call("db", "upgrade")

    assert said.code == 0
    assert said.out == "The database has this version's tables.\n"


def test_the_database_is_not_upgraded_under_a_server(call, data_dir):
    with serving(data_dir):
        said = call("db", "upgrade")

    assert (said.code, said.out) == (1, "")
    assert "Easel already works on" in said.err


def test_a_holder_without_an_address_is_waited_for_and_then_named(call, data_dir, monkeypatch):
    monkeypatch.setattr("adapters.cli.client.open.START_WAIT_S", 0.2)
    with DataLock(data_dir):
        said = call("keys", "list")

    assert said.code == 1
    assert "waiting for it" in said.err
    assert "does not say where it listens" in said.err


def test_models_are_listed_with_what_they_are_for(call):
    said = call("models", "list")

    assert said.code == 0
    assert "paint  text-to-image (default), image-to-image (default)  paint  demo" in said.out
    assert "there is no folder" in said.out.casefold() or "neither a folder" in said.out


def test_models_as_json_say_whether_they_are_usable(call):
    said = call("models", "list", "--json")

    models = {model["name"]: model for model in json.loads(said.out)["models"]}
    assert models["look"]["default_for"] == ["image-to-text", "visual-question-answering"]
    assert models["look"]["is_usable"] is False
    assert models["look"]["disk_bytes"] == 0


def test_a_presets_limits_are_told_once(call, composition, monkeypatch):
    load, old = composition.load, replace(FOX, name="old", licences=("OPT: not for commercial use",))
    models = Models({"fox": FOX, "old": old})
    monkeypatch.setattr(composition, "load", lambda config: replace(load(config), models=models))

    assert call("models", "list").out.splitlines() == [
        "fox  text-to-image  100 MiB  fox-1.0  not for commercial use",
        "old  text-to-image  100 MiB  OPT: not for commercial use",
    ]


def test_what_models_take_on_the_disk_is_told(call, composition, tmp_path, monkeypatch):
    whole, load = tmp_path / "whole.safetensors", composition.load
    save_file({"a": numpy.zeros(2**19, dtype=numpy.float32)}, whole)
    spec = replace(MODELS[0], repo=str(whole))
    monkeypatch.setattr(composition, "load", lambda config: replace(load(config), models=Models({"paint": spec})))

    (model,) = json.loads(call("models", "list", "--json").out)["models"]
    assert (model["disk_bytes"], model["is_usable"]) == (whole.stat().st_size, True)
    assert f"{whole}  2 MiB on the disk" in call("models", "list").out
