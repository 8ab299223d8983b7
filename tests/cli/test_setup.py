"""`setup`: the owner's files, laid out once and never written over."""

import os
import stat
import tomllib

import pytest

from adapters.cli.setup import CONFIG, SECRETS
from bot.settings import read_secrets


def test_setup_lays_out_files_that_are_read_without_complaint(call, data_dir):
    said = call("setup")

    assert said.code == 0, said.out
    assert "Device cpu" in said.out
    assert (data_dir / "config.toml").read_text() == CONFIG
    assert tomllib.loads(CONFIG) == {}
    assert read_secrets({}, data_dir).values() == ()
    assert call("models", "list").code == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_nobody_else_reads_the_tokens(call, data_dir):
    call("setup")

    assert stat.S_IMODE((data_dir / "secrets.env").stat().st_mode) == 0o600


def test_setup_can_be_run_again_and_leaves_everything(call, data_dir):
    call("setup")
    (data_dir / "secrets.env").write_text(SECRETS + "DISCORD_TOKEN=abc\n")
    said = call("setup")

    assert said.code == 0
    assert said.out.count("left as it is") == 2
    assert read_secrets({}, data_dir).discord_token == "abc"


def test_the_examples_are_what_they_say_once_the_marks_are_gone():
    shown = "\n".join(
        line[2:] for line in CONFIG.splitlines() if line.startswith("# ") and ("=" in line or "[" in line)
    )

    assert set(tomllib.loads(shown)["models"]) == {"my-sd15", "my-blip2"}


def test_what_to_do_next_names_the_files(call, data_dir):
    said = call("setup")

    assert str(data_dir / "secrets.env") in said.out
    assert "easel models use" in said.out
    assert "easel serve" in said.out
