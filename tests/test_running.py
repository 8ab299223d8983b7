"""Deployment: the service, the image, Compose, and the page that documents them."""

import configparser
import re
import shlex
import tomllib
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from composition.settings import ROOT
from tests.commands import assert_exists

PAGE = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
DRAIN_S = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))["queue"]["drain_s"]
SHOWN = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
INLINE = re.findall(r"`([^`]*\beasel [a-z][^`]*)`", PAGE)
OURS = sorted(
    {
        match.group(1).strip()
        for line in (*SHOWN, *INLINE)
        if not re.search("systemctl|journalctl|useradd|git clone|docker compose build", line)
        if (
            match := re.search(
                r"(?:^|[\s/\\])easel(?:\.exe)? ((?:[a-z]+|--)[^`]*)$", re.sub("sudo -u easel (env )?", "", line)
            )
        )
    }
)


def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy" / "easel.service", encoding="utf-8")
    return unit["Service"]


def compose(name: str = "compose.yaml") -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))["services"]["easel"]


def test_commands_were_found():
    assert {"doctor", "setup", "serve", "db check"} <= set(OURS)


@pytest.mark.parametrize("line", OURS)
def test_every_command_on_the_page_exists(line):
    assert_exists(shlex.split(line))


def test_every_file_that_the_page_names_is_there():
    for path in re.findall(r"\b((?:deploy|scripts|docs)[/\\][\w.]+)", PAGE):
        assert (ROOT / path.replace("\\", "/")).exists(), path


def test_service_managers_wait_longer_than_the_drain():
    assert float(service()["TimeoutStopSec"]) > DRAIN_S + 10
    assert float(compose()["stop_grace_period"].removesuffix("s")) > DRAIN_S + 10
    assert f"({DRAIN_S:.0f} s)" in PAGE


def test_the_service_starts_what_there_is_and_lets_torch_work():
    unit = service()

    assert unit["ExecStart"] == f"{unit['WorkingDirectory']}/.venv/bin/easel serve"
    assert unit["Restart"] == "on-failure"
    assert unit["KillMode"] == "mixed"
    assert not {"MemoryDenyWriteExecute", "PrivateDevices", "SystemCallFilter"} & set(unit)
    for directory in re.findall(r"=(/var/\S+)", unit["Environment"]):
        assert directory.startswith(f"/var/lib/{unit['StateDirectory']}")


def test_compose_shows_the_page_to_this_machine_alone():
    easel = compose()

    assert easel["network_mode"] == "host"
    assert "ports" not in easel
    assert easel["command"] == ["serve"]
    assert not any("TOKEN" in name for name in easel["environment"])
    assert {volume.split(":")[1] for volume in easel["volumes"]} == {"/data", "/models"}


def test_the_gpu_file_reserves_a_card_and_its_build_of_torch():
    easel = compose("compose.gpu.yaml")

    (device,) = easel["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert easel["build"]["args"]["TORCH_BACKEND"].startswith("cu")


def test_the_image_is_built_from_what_is_there_for_an_ordinary_user():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()

    assert re.search(r"^USER easel$", text, re.MULTILINE)
    assert "python scripts/install.py" in text
    assert text.index("USER easel") < text.index("python scripts/install.py")
    assert "EASEL_DATA_DIR=/data" in text
    assert {".git", ".venv", "secrets.env"} <= set(ignored)
    assert compose()["healthcheck"]["test"][1:] == yaml.safe_load(re.search(r"CMD (\[.*healthz.*\])", text)[1])  # type: ignore[index]


def test_the_health_check_asks_what_the_server_answers():
    from adapters.web.settings import WebSettings

    assert f"http://127.0.0.1:{WebSettings().port}/healthz" in str(compose()["healthcheck"]["test"])
