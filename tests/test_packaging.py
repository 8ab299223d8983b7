"""What a fresh clone installs, and how: the pinned versions, the dependencies and install.py."""

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import install

ROOT = Path(__file__).parent.parent
PACKAGES = ("adapters", "benchmarks", "bot", "composition", "inference", "scripts", "storage", "tests", "training")
FORBIDDEN = {"torchvision", "spandrel", "onnxruntime"}
OF_ONE_PACKAGE = {
    "accelerate", "diffusers", "torch", "transformers",  # inference, training
    "aiosqlite", "alembic", "sqlalchemy",  # storage
    "fastapi", "starlette", "uvicorn", "typer",  # adapters
}  # fmt: skip


def name_of(requirement):
    """The normalised name of a requirement such as `sqlalchemy[asyncio]>=2.1`."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement).group()
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def read_project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def always(value):
    return lambda _: value


def test_the_constraints_are_exact_versions_from_an_index():
    inexact = [pin for pin in read_pins() if not re.match(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ;|$)", pin)]

    assert inexact == []


def test_neither_constraints_nor_dependencies_contain_a_package_that_breaks_a_cpu_install():
    names = {name_of(line) for line in read_pins() + read_project()["project"]["dependencies"]}

    assert names & FORBIDDEN == set()


def test_no_module_star_imports_a_library():
    """With onnxruntime installed, `from diffusers import *` raises."""
    sources = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    star = [
        path
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]

    assert star == []


def test_what_the_tests_need_of_the_extras_is_one_group():
    project = read_project()
    extras = {
        name: {name_of(one) for one in these} for name, these in project["project"]["optional-dependencies"].items()
    }
    optional = set().union(*(extras[name] for name in ("openvino", "onnx", "gguf", "bnb", "quant")))

    assert {name_of(one) for one in project["dependency-groups"]["backends"]} == optional | {"sentencepiece"}
    assert optional & {name_of(pin) for pin in read_pins()} == set()


def test_the_constraints_contain_no_cuda_packages_which_each_build_of_torch_chooses():
    cuda = [pin for pin in read_pins() if pin.startswith(("nvidia-", "cuda-", "triton=="))]

    assert cuda == []


def test_the_module_that_httpcore_imports_at_every_request_is_installed():
    """A missing module is searched for in every folder of the path each time: a fifth of a busy bot's CPU time."""
    assert importlib.util.find_spec("sniffio") is not None


def test_every_runtime_and_development_dependency_is_pinned():
    pinned = {name_of(pin) for pin in read_pins()}
    requirements = read_project()["project"]["dependencies"] + read_project()["dependency-groups"]["dev"]

    assert {name_of(requirement) for requirement in requirements} - pinned == set()


def test_main_imports_no_library_that_only_one_package_uses():
    tree = ast.parse((ROOT / "main.py").read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])

    assert imported & OF_ONE_PACKAGE == set()


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_an_unsupported_python_is_refused_with_its_version(version):
    with pytest.raises(install.SetupError, match=rf"this is {version[0]}\.{version[1]}"):
        install.check_python(version, always(True))


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_the_supported_pythons_are_those_of_pyproject(version):
    install.check_python(version, always(True))

    assert read_project()["project"]["requires-python"] == ">=3.11,<3.14"


def test_a_python_without_venv_is_refused_with_the_package_to_install():
    with pytest.raises(install.SetupError, match="python3-venv"):
        install.check_python((3, 12), lambda name: name != "ensurepip")


def test_linux_without_a_gpu_gets_the_cpu_build():
    assert install.torch_backend({}, "linux", has_gpu=False, can_reach=always(True)) == "cpu"


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_an_nvidia_gpu_gets_the_build_that_fits_its_driver(platform):
    assert install.torch_backend({}, platform, has_gpu=True, can_reach=always(True)) == "auto"


@pytest.mark.parametrize("has_gpu", [True, False])
def test_the_package_index_decides_when_the_index_of_pytorch_is_unreachable(has_gpu):
    assert install.torch_backend({}, "linux", has_gpu, can_reach=always(False)) is None


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_systems_whose_wheel_on_pypi_is_the_cpu_build_use_no_other_index(platform):
    def refuse(url):
        raise AssertionError(url)

    assert install.torch_backend({}, platform, has_gpu=False, can_reach=refuse) is None


@pytest.mark.parametrize(("configured", "backend"), [("cu126", "cu126"), ("", None)])
def test_the_build_that_the_user_configured_is_used(configured, backend):
    environ = {"UV_TORCH_BACKEND": configured}

    assert install.torch_backend(environ, "linux", has_gpu=False, can_reach=always(True)) == backend


def test_an_address_without_a_server_is_unreachable():
    assert not install.can_reach("http://127.0.0.1:9/")


def test_the_message_mentions_cuda_only_if_it_may_be_installed():
    assert "250 MB" in install.describe_backend("cpu", "linux", has_gpu=False)
    assert "3 GB" in install.describe_backend("auto", "linux", has_gpu=True)
    assert "3 GB" in install.describe_backend(None, "linux", has_gpu=False)


def test_the_environment_takes_precedence_in_the_configuration_of_pip():
    listing = "\n".join(
        [
            ":env:.find-links='/from/environment'",
            "global.find-links='/from/file'",
            "global.index-url='https://mirror.example/simple'",
            ":env:.index-url=''",
            "freeze.timeout='10'",
        ]
    )

    assert install.parse_pip_config(listing) == {
        "find-links": "/from/environment",
        "index-url": "https://mirror.example/simple",
    }


def test_the_configuration_of_pip_is_passed_on_to_uv():
    pip = {"extra-index-url": "https://a/simple\nhttps://b/simple", "find-links": "/a /b"}

    assert install.uv_environment({}, pip) == {
        "UV_INDEX": "https://a/simple https://b/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/a,/b",
    }


def test_variables_that_are_already_set_are_kept():
    environ = install.uv_environment({"SSL_CERT_FILE": "/mine"}, {"cert": "/of-pip"})

    assert environ == {"SSL_CERT_FILE": "/mine"}


def test_a_failed_installation_prints_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["install.py"])
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))

    assert install.main() == 1
    assert capsys.readouterr().err.startswith("easel: Easel needs Python 3.11, 3.12 or 3.13")


@pytest.mark.process
def test_the_output_of_a_command_is_shown_only_if_it_fails(capfd):
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(int(sys.argv[1]))"
    output = install.run_command("A test", [sys.executable, "-c", program, "0"])
    shown_before = capfd.readouterr()
    with pytest.raises(install.SetupError, match="A test failed"):
        install.run_command("A test", [sys.executable, "-c", program, "1"])

    assert sorted(output.split()) == ["err", "out"]
    assert (shown_before.out, shown_before.err) == ("", "")
    assert sorted(capfd.readouterr().err.split()) == ["err", "out"]


@pytest.mark.process
def test_a_long_command_is_reported_to_be_still_running(monkeypatch, capfd):
    monkeypatch.setattr(install, "FIRST_REMINDER_S", 0.05)
    install.run_command("A test", [sys.executable, "-c", "import time; time.sleep(0.5)"])

    assert capfd.readouterr().out.startswith("... still running after 0 s\n")
