#!/usr/bin/env python3
"""Sets up `.venv` in this clone: `python scripts/install.py [--dev]`. `make` calls it.

Standard library only, and nothing Python 3.7 cannot parse: it gets a sentence, not a traceback.

uv installs in seconds where pip takes minutes, but does not read pip's configuration, so indexes,
find-links and certificates that pip was told about are passed on to it.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
UV = "uv>=0.9,<1"
OLDEST, NEWEST = (3, 11), (3, 13)
TORCH_INDEX = "https://download.pytorch.org/whl/cpu/torch/"
PROBE_TIMEOUT_S = 3.0
SIGNS_OF_NVIDIA = ("/proc/driver/nvidia/version", "/sys/module/nvidia/version")


class SetupError(Exception):
    """Setting up cannot go on; the message is the one sentence that the person reads."""


def check_python(version: tuple[int, int], has_module: Callable[[str], bool]) -> None:
    """Refuse a Python that cannot run Easel.

    `version` is the interpreter's (major, minor).
    """
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            f"Easel needs Python 3.11, 3.12 or 3.13, and this is {version[0]}.{version[1]}; "
            "if you have another, name it: make run PYTHON=python3.12"
        )
    if not (has_module("venv") and has_module("ensurepip")):
        raise SetupError(
            "this Python cannot create virtual environments; on Debian and Ubuntu "
            "`sudo apt install python3-venv` adds what is missing"
        )


def pip_settings(listing: str) -> dict[str, str]:
    """Read what `pip config list` prints: the option's name without its section, and its value.

    The environment beats the section of `pip install`, which beats the global one; an empty value
    beats nothing. All as in pip itself.
    """
    found = {}
    for section in ("global", "install", ":env:"):
        for line in listing.splitlines():
            name, is_setting, value = line.partition("=")
            owner, _, option = name.rpartition(".")
            if is_setting and owner == section and ast.literal_eval(value):
                found[option] = ast.literal_eval(value)
    return found


def uv_environment(environ: Mapping[str, str], pip: Mapping[str, str]) -> dict[str, str]:
    """Add to `environ` what pip was told, in uv's own variables; what is set already stays."""
    told = {
        "UV_DEFAULT_INDEX": pip.get("index-url"),
        "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "SSL_CERT_FILE": pip.get("cert"),
        "ALL_PROXY": pip.get("proxy"),
    }
    if told["UV_INDEX"]:
        # pip takes the best version of all indexes; uv would stop at the first that has the name.
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {**{name: value for name, value in told.items() if value}, **environ}


def torch_backend(
    environ: Mapping[str, str], platform: str, has_gpu: bool, can_reach: Callable[[str], bool]
) -> str | None:
    """Choose the build of torch: uv's name for it, or None for what the package index offers.

    Only Linux needs choosing: its wheels on PyPI bring 3 GB of CUDA. `can_reach` is asked about
    PyTorch's own index, because uv takes nine seconds to give up on one that is out of reach.
    """
    if "UV_TORCH_BACKEND" in environ:
        return environ["UV_TORCH_BACKEND"] or None
    if platform == "darwin" or (platform == "win32" and not has_gpu):
        return None
    if not can_reach(TORCH_INDEX):
        return None
    return "auto" if has_gpu else "cpu"


def explain_backend(backend: str | None, platform: str, has_gpu: bool) -> str:
    """Say which torch is coming, and how large it is."""
    what = "Installing torch, diffusers and friends"
    if backend == "cpu" or platform == "darwin" or (platform == "win32" and not has_gpu):
        return f"{what} (about 250 MB download, 1.3 GB on disk) ..."
    if backend:
        return f"{what} with torch for {backend!r} (CUDA is about 3 GB) ..."
    return f"{what} from your package index, not PyTorch's own (PyPI's torch for Linux brings about 3 GB of CUDA) ..."


def has_nvidia_gpu() -> bool:
    """Look for a driver; uv looks closer, and takes the CPU build where there is no device."""
    return bool(shutil.which("nvidia-smi")) or any(map(os.path.exists, SIGNS_OF_NVIDIA))


def can_reach(url: str) -> bool:
    """Ask for a page, and wait for no longer than PROBE_TIMEOUT_S, name look-up included."""
    answers = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S) as answer:
                answers.append(answer.status)
        except (OSError, ValueError):
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_TIMEOUT_S)
    return answers == [200]


def has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def venv_python() -> str:
    folder, name = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    return str(VENV / folder / name)


def say(sentence: str) -> None:
    print(sentence, flush=True)


def run(what: str, command: list[str], environ: dict[str, str] | None = None) -> None:
    """Run a command in the clone with its output shown; `what` names it if it fails."""
    if subprocess.run(command, cwd=str(ROOT), env=environ).returncode:
        raise SetupError(what + " failed; the lines above say why")


def is_usable(python: str) -> bool:
    """Whether `.venv` has a Python of ours with pip: an interrupted set-up leaves less."""
    probe = f"import pip, sys; sys.exit(not {OLDEST} <= sys.version_info[:2] <= {NEWEST})"
    if not os.path.exists(python):
        return False
    return subprocess.run([python, "-c", probe], stderr=subprocess.DEVNULL).returncode == 0


def create_venv() -> None:
    if not is_usable(venv_python()):
        say(f"Creating .venv with Python {sys.version_info[0]}.{sys.version_info[1]} ...")
        run("Creating .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])
    if subprocess.run([venv_python(), "-c", "import uv"], stderr=subprocess.DEVNULL).returncode:
        say("Installing uv, which installs the rest ...")
        pip = [venv_python(), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", UV]
        run("Installing uv", pip)


def environment_for_uv() -> dict[str, str]:
    listing = subprocess.run([venv_python(), "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True).stdout
    return uv_environment(dict(os.environ), pip_settings(listing))


def install(what: list[str], environ: dict[str, str]) -> None:
    """Install into `.venv` within the versions of constraints.txt."""
    uv = [venv_python(), "-m", "uv", "pip", "install", "--python", venv_python()]
    run("The installation", [*uv, "--constraints", "constraints.txt", *what], environ)


def install_runtime() -> None:
    environ = environment_for_uv()
    has_gpu = has_nvidia_gpu()
    backend = torch_backend(environ, sys.platform, has_gpu, can_reach)
    environ.pop("UV_TORCH_BACKEND", None)
    say(explain_backend(backend, sys.platform, has_gpu))
    chosen = ["--torch-backend", backend] if backend else []
    install([*chosen, "--editable", "."], environ)


def install_dev() -> None:
    say("Installing the tools for tests and checks (about 100 MB download) ...")
    install(["--group", "dev"], environment_for_uv())


def main() -> int:
    parser = argparse.ArgumentParser(description="Set up .venv in this clone of Easel.")
    parser.add_argument("--dev", action="store_true", help="add the tools for tests and checks")
    wants_dev = parser.parse_args().dev
    try:
        check_python(sys.version_info[:2], has_module)
        create_venv()
        install_dev() if wants_dev else install_runtime()
    except SetupError as error:
        print("easel: " + str(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
