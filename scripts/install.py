#!/usr/bin/env python3
"""Sets up `.venv` in this clone: `python scripts/install.py [--dev | --backends | --tools GROUP]`. `make` calls it.

Standard library only, and syntax that Python 3.7 can parse, so that an old Python prints an error message instead of a
traceback.

uv installs in seconds where pip takes minutes, but does not read pip's configuration, so this script passes on the
indexes, find-links and certificates that are configured for pip. The output of both is shown only if they fail.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = VENV / "tools"
"""An environment of its own: these tools must not change the packages that they examine."""
UV = "uv>=0.9,<1"
MIN_PYTHON, MAX_PYTHON = (3, 11), (3, 13)
TORCH_INDEX = "https://download.pytorch.org/whl/cpu/torch/"
PROBE_TIMEOUT_S = 3.0
FIRST_REMINDER_S = 30
"""A command that runs longer is reported once; then again after twice the time, and so on."""
NVIDIA_DRIVER_FILES = ("/proc/driver/nvidia/version", "/sys/module/nvidia/version")


class SetupError(Exception):
    """The installation failed; the message is shown to the user."""


def check_python(version: tuple[int, int], has_module: Callable[[str], bool]) -> None:
    """Refuse a Python that cannot run Easel.

    `version` is the interpreter's (major, minor).
    """
    if not MIN_PYTHON <= version <= MAX_PYTHON:
        raise SetupError(
            f"Easel needs Python 3.11, 3.12 or 3.13, and this is {version[0]}.{version[1]}; "
            "use another one with: make run PYTHON=python3.12"
        )
    if not (has_module("venv") and has_module("ensurepip")):
        raise SetupError(
            "this Python cannot create virtual environments; on Debian and Ubuntu, run `sudo apt install python3-venv`"
        )


def parse_pip_config(listing: str) -> dict[str, str]:
    """Parse the output of `pip config list`: values by option name, without the section.

    As in pip, the environment takes precedence over the section of `pip install`, which takes precedence over the
    global one; empty values are ignored.
    """
    options = {}
    for section in ("global", "install", ":env:"):
        for line in listing.splitlines():
            name, is_setting, value = line.partition("=")
            prefix, _, option = name.rpartition(".")
            if is_setting and prefix == section and ast.literal_eval(value):
                options[option] = ast.literal_eval(value)
    return options


def uv_environment(environ: Mapping[str, str], pip: Mapping[str, str]) -> dict[str, str]:
    """Add pip's configuration to `environ` as uv's variables; variables that are already set are kept."""
    variables = {
        "UV_DEFAULT_INDEX": pip.get("index-url"),
        "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "SSL_CERT_FILE": pip.get("cert"),
        "ALL_PROXY": pip.get("proxy"),
    }
    if variables["UV_INDEX"]:
        # pip chooses the best version from all indexes; uv's default is the first index that has the package.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {**{name: value for name, value in variables.items() if value}, **environ}


def torch_backend(
    environ: Mapping[str, str], platform: str, has_gpu: bool, can_reach: Callable[[str], bool]
) -> str | None:
    """uv's name for the build of torch to install, or None for the package index's default.

    Only Linux needs a choice: its wheels on PyPI bring 3 GB of CUDA. PyTorch's own index is checked with `can_reach`
    first, because uv needs nine seconds to give up on an unreachable index.
    """
    if "UV_TORCH_BACKEND" in environ:
        return environ["UV_TORCH_BACKEND"] or None
    if platform == "darwin" or (platform == "win32" and not has_gpu):
        return None
    if not can_reach(TORCH_INDEX):
        return None
    return "auto" if has_gpu else "cpu"


def describe_backend(backend: str | None, platform: str, has_gpu: bool) -> str:
    """Describe which torch will be installed, and its size."""
    what = "Installing torch, Diffusers and other packages"
    if backend == "cpu" or platform == "darwin" or (platform == "win32" and not has_gpu):
        return f"{what} (about 250 MB download, 1.3 GB on disk) ..."
    if backend:
        return f"{what} with torch for {backend!r} (CUDA is about 3 GB) ..."
    return f"{what} from your package index, not PyTorch's own (PyPI's torch for Linux brings about 3 GB of CUDA) ..."


def has_nvidia_gpu() -> bool:
    """Whether a driver is installed; uv checks again, and installs the CPU build if there is no device."""
    return bool(shutil.which("nvidia-smi")) or any(map(os.path.exists, NVIDIA_DRIVER_FILES))


def can_reach(url: str) -> bool:
    """Whether a HEAD request succeeds within PROBE_TIMEOUT_S, including the DNS lookup."""
    statuses = []

    def send_request() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S) as response:
                statuses.append(response.status)
        except (OSError, ValueError):
            pass

    probe = threading.Thread(target=send_request, daemon=True)
    probe.start()
    probe.join(PROBE_TIMEOUT_S)
    return statuses == [200]


def has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def venv_python(venv: Path = VENV) -> str:
    folder, name = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    return str(venv / folder / name)


def print_message(message: str) -> None:
    print(message, flush=True)


def run_command(what: str, command: list[str], environ: dict[str, str] | None = None) -> str:
    """Run a command in the clone and return its output, which is shown only if the command fails.

    `what`: its name in the error message.
    """
    started, reminder_s = time.monotonic(), float(FIRST_REMINDER_S)
    process = subprocess.Popen(
        command, cwd=str(ROOT), env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process:
        while True:
            try:
                output = process.communicate(timeout=reminder_s)[0]
                break
            except subprocess.TimeoutExpired:
                print_message(f"... still running after {time.monotonic() - started:.0f} s")
                reminder_s *= 2
            except KeyboardInterrupt:
                process.kill()
                raise
    if process.returncode:
        print(output, file=sys.stderr)
        raise SetupError(what + " failed; see the output above for the reason")
    return output


def is_usable(python: str) -> bool:
    """Whether `.venv` has a supported Python with pip; after an interrupted installation it may not."""
    probe = f"import pip, sys; sys.exit(not {MIN_PYTHON} <= sys.version_info[:2] <= {MAX_PYTHON})"
    if not os.path.exists(python):
        return False
    return subprocess.run([python, "-c", probe], stderr=subprocess.DEVNULL).returncode == 0


def create_venv() -> None:
    if not is_usable(venv_python()):
        print_message(f"Creating .venv with Python {sys.version_info[0]}.{sys.version_info[1]} ...")
        run_command("Creating .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])
    if subprocess.run([venv_python(), "-c", "import uv"], stderr=subprocess.DEVNULL).returncode:
        print_message("Installing uv ...")
        pip = [venv_python(), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", UV]
        run_command("Installing uv", pip)


def read_uv_environment() -> dict[str, str]:
    listing = subprocess.run([venv_python(), "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True).stdout
    return uv_environment(dict(os.environ), parse_pip_config(listing))


def install_packages(arguments: list[str], environ: dict[str, str]) -> None:
    """Install into `.venv` the versions pinned in constraints.txt."""
    started = time.monotonic()
    uv = [venv_python(), "-m", "uv", "pip", "install", "--python", venv_python()]
    output = run_command("The installation", [*uv, "--constraints", "constraints.txt", *arguments], environ)
    installed = re.search(r"Installed (\d+) packages?", output)
    print_message(
        f"Installed {installed[1] if installed else 'no'} new packages in {time.monotonic() - started:.0f} s."
    )


def install_runtime() -> None:
    environ = read_uv_environment()
    has_gpu = has_nvidia_gpu()
    backend = torch_backend(environ, sys.platform, has_gpu, can_reach)
    environ.pop("UV_TORCH_BACKEND", None)
    print_message(describe_backend(backend, sys.platform, has_gpu))
    options = ["--torch-backend", backend] if backend else []
    install_packages([*options, "--editable", "."], environ)


def install_dev() -> None:
    print_message("Installing the tools for tests and checks (about 140 MB download) ...")
    install_packages(["--group", "dev"], read_uv_environment())


def install_backends() -> None:
    print_message("Installing the optional libraries that tests need (about 270 MB download) ...")
    install_packages(["--group", "backends", "--group", "clients"], read_uv_environment())


def install_tools(group: str) -> None:
    """Install a dependency group into `.venv/tools`."""
    print_message(f"Installing the tools of the group {group} into .venv/tools ...")
    uv, environ = [venv_python(), "-m", "uv"], read_uv_environment()
    if not os.path.exists(venv_python(TOOLS)):
        run_command("Creating .venv/tools", [*uv, "venv", "--python", venv_python(), str(TOOLS)], environ)
    run_command("The installation", [*uv, "pip", "install", "--python", venv_python(TOOLS), "--group", group], environ)


def main() -> int:
    parser = argparse.ArgumentParser(description="Set up .venv in this clone of Easel.")
    parser.add_argument("--dev", action="store_true", help="install the tools for tests and checks")
    parser.add_argument("--backends", action="store_true", help="install the optional libraries that tests need")
    parser.add_argument(
        "--tools", metavar="GROUP", help="install the tools of a group, audit or fuzz, into .venv/tools"
    )
    arguments = parser.parse_args()
    try:
        check_python(sys.version_info[:2], has_module)
        create_venv()
        if arguments.tools:
            install_tools(arguments.tools)
        elif arguments.dev:
            install_dev()
        elif arguments.backends:
            install_backends()
        else:
            install_runtime()
    except SetupError as error:
        print("easel: " + str(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
