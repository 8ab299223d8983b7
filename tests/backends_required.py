"""Tests of optional libraries: skipped with a reason where a library is not installed, but not in CI.

CI installs the dependency groups `backends` and `clients`, and sets `EASEL_TEST_REQUIRE_BACKENDS`: there a missing
library is an error.
"""

import os
from importlib.util import find_spec

import pytest

MODULES = {
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "torchao": "torchao",
    "gguf": "gguf",
    "bitsandbytes": "bitsandbytes",
    "sentencepiece": "sentencepiece",
    "openai": "openai",
    "langchain-openai": "langchain_openai",
    "webuiapi": "webuiapi",
    "mcp": "mcp",
}
"""Modules by the names in `pyproject.toml`'s groups."""


def require_backend(name: str) -> None:
    """Skip the test, or the module that calls this, unless the library is installed."""
    if is_installed(name):
        return
    if os.environ.get("EASEL_TEST_REQUIRE_BACKENDS"):
        pytest.fail(f"{name} is not installed: python scripts/install.py --backends", pytrace=False)
    pytest.skip(f"{name} is not installed: python scripts/install.py --backends", allow_module_level=True)


def is_installed(name: str) -> bool:
    return find_spec(MODULES[name]) is not None
