"""The static files of the page, read, joined and compressed once when the server starts.

Their URLs contain a hash of all of them (`/static/HASH/start.js`), so browsers cache them forever, and relative
imports find the files of the same version.
"""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from adapters.web.module_bundles import Bundle, join_modules, strip

STATIC = Path(__file__).parent / "static"
START = Bundle("start", ("vendor", "core", "shell"))
"""Loaded by every view."""
START_STYLES = "css"
_COMPRESSED = {".js", ".css", ".svg", ".json", ".webmanifest"}
_MEDIA_TYPES = {
    ".js": "text/javascript", ".woff2": "font/woff2", ".webmanifest": "application/manifest+json",
}  # fmt: skip
_IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class PageFile:
    content: bytes
    compressed: bytes | None
    media_type: str


@dataclass(frozen=True)
class PageFiles:
    """`files` by their path below `/static/VERSION/`."""

    version: str
    files: Mapping[str, PageFile]

    @property
    def base(self) -> str:
        return f"/static/{self.version}/"

    def has(self, path: str) -> bool:
        return path in self.files

    def respond(self, request: Request, path: str) -> Response | None:
        """The response for one file, or None if there is none."""
        file = self.files.get(path)
        if file is None:
            return None
        headers = {"Cache-Control": _IMMUTABLE, "Vary": "Accept-Encoding"}
        accepts = "gzip" in request.headers.get("accept-encoding", "")
        if file.compressed is None or not accepts:
            return Response(file.content, media_type=file.media_type, headers=headers)
        return Response(file.compressed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})


def load_page_files(folder: Path = STATIC) -> PageFiles:
    """Read again only if a file has changed. Raises: StartupError: modules that cannot be joined."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return _load(folder, tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


@lru_cache(maxsize=4)
def _load(folder: Path, signature: tuple[tuple[Path, int, int], ...]) -> PageFiles:
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path, _, _ in signature}
    built = _join_scripts(contents) | _join_styles(contents) | _copied(contents)
    version = hashlib.sha256(b"".join(name.encode() + content for name, content in sorted(built.items()))).hexdigest()
    return PageFiles(version[:16], {name: _prepare(name, content) for name, content in built.items()})


def _folders(contents: Mapping[str, bytes], suffix: str) -> list[str]:
    return sorted({path.partition("/")[0] for path in contents if "/" in path and path.endswith(suffix)})


def _join_scripts(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    sources = {path: content.decode() for path, content in contents.items() if path.endswith(".js")}
    routes = [Bundle(folder, (folder,)) for folder in _folders(contents, ".js") if folder not in START.folders]
    return {name: text.encode() for name, text in join_modules(sources, [START, *routes]).items()}


def _join_styles(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """The styles of each folder in one file; tokens.css first, then by name."""
    joined = {}
    for folder in _folders(contents, ".css"):
        names = [path for path in contents if path.startswith(f"{folder}/") and path.endswith(".css")]
        names.sort(key=lambda path: (not path.endswith("/tokens.css"), path))
        joined["start.css" if folder == START_STYLES else f"{folder}.css"] = "\n".join(
            strip(contents[name].decode()) for name in names
        ).encode()
    return joined


def _copied(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Pictures and fonts, by their file names."""
    kinds = (".svg", ".png", ".webp", ".woff2", ".webmanifest")
    return {path.rpartition("/")[2]: content for path, content in contents.items() if path.endswith(kinds)}


def _prepare(name: str, content: bytes) -> PageFile:
    suffix = Path(name).suffix
    media_type = _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    compressed = gzip.compress(content, 9, mtime=0) if suffix in _COMPRESSED else None
    return PageFile(content, compressed, media_type)
