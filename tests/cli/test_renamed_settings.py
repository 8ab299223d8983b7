"""Old names of settings still work, and each is logged once when the settings are loaded."""

import json

import pytest

from adapters.cli.session import Session
from bot.errors import ConfigError
from composition.local import Composition


@pytest.fixture
def session(monkeypatch, tmp_path):
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    return Session(Composition())


def logged(session):
    lines = [json.loads(line) for line in session.log_file.read_text().splitlines()]
    return [
        (line["level"], line["old_name"], line["new_name"]) for line in lines if line["action"] == "setting_renamed"
    ]


def test_an_old_variable_works_and_is_logged(session, monkeypatch):
    monkeypatch.setenv("EASEL_POOL__MAX_WARM", "2")

    loaded = session.load_config(None, None)

    assert loaded.settings["pool"].max_loaded_models == 2
    assert logged(session) == [("warning", "EASEL_POOL__MAX_WARM", "EASEL_POOL__MAX_LOADED_MODELS")]


def test_old_keys_of_a_file_work_and_are_logged(session, tmp_path):
    (tmp_path / "config.toml").write_text("[pool]\nniceness = 3\nsilence_s = 40.0\n")

    pool = session.load_config(None, None).settings["pool"]

    assert (pool.nice, pool.heartbeat_timeout_s) == (3, 40.0)
    assert [line[1:] for line in logged(session)] == [
        ("pool.niceness", "pool.nice"),
        ("pool.silence_s", "pool.heartbeat_timeout_s"),
    ]


def test_both_names_in_one_file_are_refused(session, tmp_path):
    (tmp_path / "config.toml").write_text("[pool]\nniceness = 3\nnice = 4\n")

    with pytest.raises(ConfigError, match=r"delete pool\.niceness"):
        session.load_config(None, None)
