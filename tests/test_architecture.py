"""The architecture, held by tests: who may import whom, how long things grow, what is never logged."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bot.commands import COMMANDS, Command
from bot.models import TASKS

ROOT = Path(__file__).parent.parent
PACKAGES = ("adapters", "bot", "composition", "inference", "storage", "training")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))] + [ROOT / "main.py"]
MAX_LINES = 400
MAX_FUNCTION_LINES = 70
LOG_METHODS = {"info", "warning", "error", "exception", "critical", "log", "warn", "msg"}
PRIVATE = {
    "prompt",
    "negative_prompt",
    "question",
    "answer",
    "token",
    "secret",
    "password",
    "options",
    "line",
    "needle",
}
PRINTS = {"composition/server.py", "training", "adapters/cli"}
"""What people read on their terminal is printed here, and nowhere else."""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def nodes_of(path):
    return list(ast.walk(tree_of(path)))


def calls_in(path):
    return [node for node in nodes_of(path) if isinstance(node, ast.Call)]


def functions_in(path):
    return [node for node in nodes_of(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def imports_of(path):
    """The top-level names that a module imports, anywhere in it."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def modules_loaded_by(*modules):
    """What is in `sys.modules` after a fresh interpreter imported these."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


# ---------------------------------------------------------------- who may import whom


@pytest.mark.process
def test_the_import_contracts_hold():
    lint = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([lint, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-3000:]


def test_every_package_has_modules():
    assert [package for package in PACKAGES if not list((ROOT / package).glob("*.py"))] == []


@pytest.mark.process
@pytest.mark.parametrize("package", ["bot", "storage"])
def test_the_parent_process_never_loads_a_tensor_library(package):
    loaded = modules_loaded_by(package)

    assert loaded & {"torch", "diffusers", "transformers", "accelerate", "numpy", "PIL"} == set()


def test_the_core_knows_no_platform_web_or_database_library():
    known = set().union(*(imports_of(path) for path in SOURCES if name_of(path).startswith("bot/")))

    assert known - set(sys.stdlib_module_names) <= {"bot", "platformdirs", "pluggy", "pydantic", "structlog", "tomlkit"}


def test_only_composition_imports_every_package():
    imports = {package: set[str]() for package in (*PACKAGES, "main.py")}
    for path in SOURCES:
        imports[name_of(path).partition("/")[0]] |= imports_of(path)

    assert [name for name, found in imports.items() if {"adapters", "inference", "storage"} <= found] == ["composition"]


def test_chat_libraries_stay_with_their_adapters():
    strangers = {
        name_of(path): found
        for path in SOURCES
        if (found := imports_of(path) & {"discord", "telegram"}) and not name_of(path).startswith("adapters/")
    }

    assert strangers == {}


def test_no_code_from_a_hub_is_trusted_but_kernels_that_the_owner_allowed():
    trusting = [
        name_of(path)
        for path in SOURCES
        if name_of(path) != "inference/hub/kernel_download.py"
        for call in calls_in(path)
        for keyword in call.keywords
        if keyword.arg == "trust_remote_code"
        and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
    ]

    assert trusting == []


# ---------------------------------------------------------------- how long things grow


def test_a_file_is_short_enough_to_be_read_in_one_go():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}

    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}
    assert sorted(lengths.values())[len(lengths) // 2] < 150


def test_no_function_is_longer_than_a_screen():
    long = {
        f"{name_of(path)}:{function.name}": length
        for path in SOURCES
        if "migrations/versions" not in name_of(path)  # one long list of columns, written by alembic
        for function in functions_in(path)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    }

    assert long == {}


def test_every_module_says_what_it_is_for():
    silent = [name_of(path) for path in SOURCES if path.stat().st_size and not ast.get_docstring(tree_of(path))]

    assert silent == []


# ---------------------------------------------------------------- commands


def test_every_kind_of_command_is_registered():
    kinds, waiting = set(), [Command]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not getattr(kind, "__abstractmethods__", None):
            kinds.add(kind)

    assert {kind for kind in kinds if kind.__module__.startswith("bot.")} == set(COMMANDS.values())


def test_every_file_of_a_command_is_registered():
    files = {path.stem for path in (ROOT / "bot" / "commands").glob("*.py")} - {
        "__init__",
        "adapter_option",
        "base",
        "best_of",
        "canvas",
        "control_check",
        "control_maps",
        "defaults",
        "drawing_options",
        "image_flags",
        "imagine_options",
        "detail_words",
        "generation_options",
        "grid_axes",
        "inpainting",
        "input_images",
        "outpainting",
        "parts",
        "prompt_enhancing",
        "refine_tiles",
        "references",
        "region_words",
        "unprompted_alts",
        "vision",
    }

    assert files == set(COMMANDS)


@pytest.mark.parametrize("kind", COMMANDS.values(), ids=COMMANDS)
def test_every_command_says_what_it_does_and_needs(kind):
    assert kind.summary
    assert kind(values={}).task in TASKS
    assert kind.images_needed <= kind.images_allowed
    assert all(spec.help for spec in kind.specs)
    assert sum(spec.is_main for spec in kind.specs) <= 1


# ---------------------------------------------------------------- what is said aloud


def test_nothing_is_printed_but_on_a_persons_terminal():
    printing = [
        f"{name_of(path)}:{call.lineno}"
        for path in SOURCES
        if not name_of(path).startswith(tuple(PRINTS))
        for call in calls_in(path)
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]

    assert printing == []


def logging_calls():
    """(where, call) of every log call above DEBUG."""
    for path in SOURCES:
        for call in calls_in(path):
            function = call.func
            if (
                isinstance(function, ast.Attribute)
                and function.attr in LOG_METHODS
                and re.fullmatch(r"_?log(ger)?", ast.unparse(function.value))
            ):
                yield f"{name_of(path)}:{call.lineno}", call


def test_no_log_call_names_a_prompt_or_a_secret():
    telling = [where for where, call in logging_calls() if {keyword.arg or "" for keyword in call.keywords} & PRIVATE]

    assert telling == []


def test_no_log_call_shows_what_a_person_wrote():
    def shown(call):
        parts = [*call.args, *(keyword.value for keyword in call.keywords)]
        nodes = [node for part in parts for node in ast.walk(part)]
        names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        return names | {node.id for node in nodes if isinstance(node, ast.Name)}

    assert [where for where, call in logging_calls() if shown(call) & PRIVATE] == []


def test_every_log_call_has_a_plain_message_and_an_action():
    unnamed = [
        where
        for where, call in logging_calls()
        if not (call.args and isinstance(call.args[0], ast.Constant))
        or "action" not in {keyword.arg for keyword in call.keywords}
    ]

    assert unnamed == []
