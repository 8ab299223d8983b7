"""What a fresh clone installs, and how: the lock, the dependencies, the decisions of install.py."""

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import install

ROOT = Path(__file__).parent.parent
NEVER = {"torchvision", "spandrel", "onnxruntime"}
OF_A_ROOM = {
    "accelerate", "diffusers", "torch", "transformers",  # inference, training
    "aiosqlite", "alembic", "sqlalchemy",  # storage
    "fastapi", "starlette", "uvicorn", "typer",  # adapters
}  # fmt: skip


def name_of(requirement):
    """The normalised name of a requirement such as `sqlalchemy[asyncio]>=2.1`."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement).group()
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def always(answer):
    return lambda _: answer


def test_the_lock_holds_exact_versions_from_an_index_only():
    inexact = [pin for pin in pins() if not re.match(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ;|$)", pin)]

    assert inexact == []


def test_the_lock_and_the_dependencies_name_nothing_that_breaks_a_cpu_install():
    named = {name_of(line) for line in pins() + project()["project"]["dependencies"]}

    assert named & NEVER == set()


def test_the_lock_leaves_the_cuda_packages_to_each_build_of_torch():
    cuda = [pin for pin in pins() if pin.startswith(("nvidia-", "cuda-", "triton=="))]

    assert cuda == []


def test_httpcore_finds_what_it_asks_for_at_every_request():
    """A module that is not there is looked for in every folder of the path, each time: a fifth of a busy bot's work."""
    assert importlib.util.find_spec("sniffio") is not None


def test_every_runtime_and_development_dependency_is_pinned():
    pinned = {name_of(pin) for pin in pins()}
    wanted = project()["project"]["dependencies"] + project()["dependency-groups"]["dev"]

    assert {name_of(requirement) for requirement in wanted} - pinned == set()


def test_main_imports_no_library_that_belongs_to_a_room():
    tree = ast.parse((ROOT / "main.py").read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])

    assert imported & OF_A_ROOM == set()


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_another_python_is_refused_with_a_sentence_that_names_it(version):
    with pytest.raises(install.SetupError, match=rf"this is {version[0]}\.{version[1]}"):
        install.check_python(version, always(True))


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_the_supported_pythons_are_those_of_pyproject(version):
    install.check_python(version, always(True))

    assert project()["project"]["requires-python"] == ">=3.11,<3.14"


def test_a_python_without_venv_is_refused_with_what_to_install():
    with pytest.raises(install.SetupError, match="python3-venv"):
        install.check_python((3, 12), lambda name: name != "ensurepip")


def test_linux_without_a_gpu_gets_the_cpu_build():
    assert install.torch_backend({}, "linux", has_gpu=False, can_reach=always(True)) == "cpu"


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_an_nvidia_gpu_gets_the_build_that_fits_its_driver(platform):
    assert install.torch_backend({}, platform, has_gpu=True, can_reach=always(True)) == "auto"


@pytest.mark.parametrize("has_gpu", [True, False])
def test_the_package_index_decides_when_that_of_pytorch_is_out_of_reach(has_gpu):
    assert install.torch_backend({}, "linux", has_gpu, can_reach=always(False)) is None


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_systems_whose_wheel_on_pypi_is_the_cpu_build_ask_no_other_index(platform):
    def refuse(url):
        raise AssertionError(url)

    assert install.torch_backend({}, platform, has_gpu=False, can_reach=refuse) is None


@pytest.mark.parametrize(("named", "chosen"), [("cu126", "cu126"), ("", None)])
def test_the_build_that_a_person_names_is_taken_unasked(named, chosen):
    environ = {"UV_TORCH_BACKEND": named}

    assert install.torch_backend(environ, "linux", has_gpu=False, can_reach=always(True)) == chosen


def test_an_address_that_nobody_answers_is_out_of_reach():
    assert not install.can_reach("http://127.0.0.1:9/")


def test_the_sentence_warns_of_cuda_only_when_it_may_come():
    assert "250 MB" in install.explain_backend("cpu", "linux", has_gpu=False)
    assert "3 GB" in install.explain_backend("auto", "linux", has_gpu=True)
    assert "3 GB" in install.explain_backend(None, "linux", has_gpu=False)


def test_what_pip_was_told_is_read_with_the_environment_first():
    listing = "\n".join(
        [
            ":env:.find-links='/from/environment'",
            "global.find-links='/from/file'",
            "global.index-url='https://mirror.example/simple'",
            ":env:.index-url=''",
            "freeze.timeout='10'",
        ]
    )

    assert install.pip_settings(listing) == {
        "find-links": "/from/environment",
        "index-url": "https://mirror.example/simple",
    }


def test_uv_is_told_what_pip_was_told():
    pip = {"extra-index-url": "https://a/simple\nhttps://b/simple", "find-links": "/a /b"}

    assert install.uv_environment({}, pip) == {
        "UV_INDEX": "https://a/simple https://b/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/a,/b",
    }


def test_what_uv_was_told_already_stays():
    told = install.uv_environment({"SSL_CERT_FILE": "/mine"}, {"cert": "/of-pip"})

    assert told == {"SSL_CERT_FILE": "/mine"}


def test_a_set_up_that_cannot_go_on_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["install.py"])
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))

    assert install.main() == 1
    assert capsys.readouterr().err.startswith("easel: Easel needs Python 3.11, 3.12 or 3.13")
