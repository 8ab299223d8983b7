"""Fetches the libraries and the font of the page from npm into `adapters/web/static/vendor/`, and what its
tests need into `tests/web/axe/`: `make vendor`.

`vendor.lock.json` pins each package's version, the SHA-256 of its archive and of every file taken from it. What does
not match is refused, and nothing is written. After changing a version here, `--update` writes a new lock.
"""

import argparse
import hashlib
import io
import json
import sys
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENDOR = "adapters/web/static/vendor"
LOCK = ROOT / VENDOR / "vendor.lock.json"
REGISTRY = "https://registry.npmjs.org"
TIMEOUT_S = 60


@dataclass(frozen=True)
class Package:
    """`files` maps a path in the package to one in `folder`."""

    name: str
    version: str
    licence: str
    files: dict[str, str]
    folder: str = VENDOR

    @property
    def url(self) -> str:
        return f"{REGISTRY}/{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"


_DIRECTIVES = ("if-defined", "live", "ref", "repeat")
PACKAGES = (
    Package(
        "lit-html",
        "3.3.3",
        "BSD-3-Clause",
        {
            **{name: f"lit-html/{name}" for name in ("LICENSE", "lit-html.js", "directive.js", "directive-helpers.js")},
            "async-directive.js": "lit-html/async-directive.js",
            **{f"directives/{name}.js": f"lit-html/directives/{name}.js" for name in _DIRECTIVES},
        },
    ),
    Package(
        "@preact/signals-core",
        "1.14.5",
        "MIT",
        {"LICENSE": "signals-core/LICENSE", "dist/signals-core.mjs": "signals-core/signals-core.js"},
    ),
    Package(
        "@fontsource-variable/source-sans-3",
        "5.3.1",
        "OFL-1.1",
        {
            "LICENSE": "source-sans-3/LICENSE",
            "files/source-sans-3-latin-wght-normal.woff2": "source-sans-3/source-sans-3.woff2",
        },
    ),
    Package(
        "axe-core",
        "4.14.1",
        "MPL-2.0",
        {"LICENSE": "LICENSE", "axe.min.js": "axe.min.js"},
        "tests/web/axe",
    ),
)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(package: Package) -> bytes:
    with urllib.request.urlopen(package.url, timeout=TIMEOUT_S) as response:
        content: bytes = response.read()
    return content


def extract(package: Package, archive: bytes) -> dict[str, bytes]:
    """The contents of the package's files by their path in the repository."""
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        for source, target in package.files.items():
            member = opened.extractfile(f"package/{source}")
            if member is None:
                raise SystemExit(f"{package.name} {package.version} has no file {source}.")
            contents[f"{package.folder}/{target}"] = member.read()
    return contents


def describe(package: Package, archive: bytes, contents: dict[str, bytes]) -> dict[str, Any]:
    """The package's entry in the lock."""
    return {
        "version": package.version,
        "licence": package.licence,
        "url": package.url,
        "sha256": digest(archive),
        "files": {path: digest(content) for path, content in sorted(contents.items())},
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="accept what npm sends and write a new lock")
    update = parser.parse_args(arguments).update
    locked = {} if update else json.loads(LOCK.read_text(encoding="utf-8"))
    entries: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for package in PACKAGES:
        archive = fetch(package)
        if not update and locked.get(package.name, {}).get("sha256") != digest(archive):
            print(f"{package.url} is not the archive that {LOCK.name} names; nothing was written.", file=sys.stderr)
            return 1
        contents = extract(package, archive)
        files |= contents
        entries[package.name] = describe(package, archive, contents)
    if not update and entries != locked:
        print(f"The packages do not match {LOCK.name}: run `make vendor VENDOR_ARGS=--update`.", file=sys.stderr)
        return 1
    for path, content in files.items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    LOCK.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    print(f"{len(files)} files are as {LOCK.name} says.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
