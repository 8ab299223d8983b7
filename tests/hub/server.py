"""A small Hugging Face hub on loopback: repositories in the real layouts, and fault injection for downloads.

As a program: `python -m tests.hub.server FOLDER` serves each `FOLDER/ORG/NAME` as a repository and prints its address.
"""

import hashlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".msgpack")
"""Files that the hub stores with Git LFS, identified by SHA-256."""


@dataclass
class Repo:
    files: dict[str, bytes]
    commit: str
    licence: str = ""
    gated: bool = False
    token: str = ""
    """Without it, 401; with another one, 403."""


@dataclass
class Fault:
    """A fault for requests of one path; `times`: how often it occurs."""

    kind: str
    times: int = 1
    after: int = 0
    """Bytes of the body that are sent first."""
    methods: tuple[str, ...] = ("GET",)


@dataclass(frozen=True)
class HubRequest:
    method: str
    path: str
    start: int
    token: str


@dataclass
class Hub:
    repos: dict[str, Repo] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    """By the file's path, or "api" for the repository's metadata."""
    requests: list[HubRequest] = field(default_factory=list)
    bytes_sent: dict[str, int] = field(default_factory=dict)
    """Bytes sent of each file."""
    slow_s: float = 0.0
    """Seconds between parts of a body, 64 KiB each."""
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, files: Mapping[str, bytes] | Path, **more: Any) -> Repo:
        if isinstance(files, Path):
            files = {
                path.relative_to(files).as_posix(): path.read_bytes() for path in files.rglob("*") if path.is_file()
            }
        content = json.dumps({path: hashlib.sha256(data).hexdigest() for path, data in sorted(files.items())})
        commit = more.pop("commit", hashlib.sha1(content.encode()).hexdigest())
        self.repos[name] = Repo(dict(files), commit, **more)
        return self.repos[name]

    def take_fault(self, path: str) -> Fault | None:
        fault = self.faults.get(path)
        if fault is None or fault.times <= 0:
            return None
        fault.times -= 1
        return fault

    def get_requests(self, path: str) -> list[HubRequest]:
        return [request for request in self.requests if request.method == "GET" and request.path.endswith(f"/{path}")]


@contextmanager
def serve_hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """No log: `Hub.requests` records them."""

    def do_HEAD(self) -> None:
        self._respond()

    def do_GET(self) -> None:
        self._respond()

    def _respond(self) -> None:
        path = unquote(urlsplit(self.path).path)
        start = self.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.requests.append(HubRequest(self.command, path, int(start or 0), token))
        if path.startswith("/api/models/"):
            self._describe(path.removeprefix("/api/models/"), token)
        elif "/resolve/" in path:
            name, _, rest = path.strip("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            self._file(name, revision, file, int(start or 0), token)
        else:
            self._refuse(404, "RepoNotFound")

    def _refuse(self, status: int, code: str = "", **headers: str) -> None:
        body = json.dumps({"error": code or "no"}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _open(self, name: str, token: str) -> Repo | None:
        """The repository, or None after an error response like the hub's."""
        repo = self.hub.repos.get(name)
        if repo is None:
            self._refuse(401 if not token else 404, "RepoNotFound")
        elif repo.token and not token:
            self._refuse(401, "GatedRepo")
        elif repo.token and token != repo.token:
            self._refuse(403, "GatedRepo")
        else:
            return repo
        return None

    def _describe(self, rest: str, token: str) -> None:
        name, _, revision = rest.partition("/revision/")
        fault = self.hub.take_fault("api")
        if fault is not None:
            self._refuse(int(fault.kind), Retry_After="0")
            return
        repo = self._open(name, token)
        if repo is None:
            return
        if revision not in ("", "main", repo.commit):
            self._refuse(404, "RevisionNotFound")
            return
        has_sizes = "blobs" in parse_qs(urlsplit(self.path).query)
        siblings = [self._sibling(path, data, has_sizes=has_sizes) for path, data in sorted(repo.files.items())]
        body = json.dumps(
            {
                "id": name, "modelId": name, "sha": repo.commit, "private": False, "downloads": 1, "likes": 1,
                "gated": "auto" if repo.gated else False, "tags": [f"license:{repo.licence}"] if repo.licence else [],
                "cardData": {"license": repo.licence} if repo.licence else {}, "siblings": siblings,
            }
        ).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _sibling(self, path: str, data: bytes, *, has_sizes: bool) -> dict[str, Any]:
        sibling: dict[str, Any] = {"rfilename": path}
        if has_sizes:
            sibling |= {"size": len(data), "blobId": etag_of("x", data)}
            if path.endswith(LFS_SUFFIXES):
                sibling["lfs"] = {"sha256": etag_of(path, data), "size": len(data), "pointerSize": 130}
        return sibling

    def _file(self, name: str, revision: str, path: str, start: int, token: str) -> None:
        repo = self._open(name, token)
        if repo is None:
            return
        if revision not in ("main", repo.commit):
            self._refuse(404, "RevisionNotFound")
            return
        data = repo.files.get(path)
        if data is None:
            self._refuse(404, "EntryNotFound")
            return
        fault = self.hub.faults.get(path)
        fault = self.hub.take_fault(path) if fault is not None and self.command in fault.methods else None
        if fault is not None and fault.kind.isdigit():
            self._refuse(int(fault.kind), Retry_After="0.1")
            return
        self._send(repo, path, data, start, fault)

    def _send(self, repo: Repo, path: str, data: bytes, start: int, fault: Fault | None) -> None:
        etag = etag_of(path, data)
        body = bytes(len(data) - start) if fault is not None and fault.kind == "wrong" else data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", repo.commit)
        if path.endswith(LFS_SUFFIXES):
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("X-Linked-Etag", f'"{etag}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is None or fault.kind == "wrong":
            self._write(path, body)
            return
        self._write(path, body[: fault.after])
        if fault.kind == "stall":
            self.hub.released.wait(60)
        reset = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self.close_connection = True
        self.connection.close()

    def _write(self, path: str, body: bytes) -> None:
        for at in range(0, len(body), 65536):
            part = body[at : at + 65536]
            try:
                self.wfile.write(part)
                self.wfile.flush()
            except OSError:
                self.close_connection = True
                return
            self.hub.bytes_sent[path] = self.hub.bytes_sent.get(path, 0) + len(part)
            if self.hub.slow_s and self.hub.released.wait(self.hub.slow_s):
                return


def etag_of(path: str, data: bytes) -> str:
    if path.endswith(LFS_SUFFIXES):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def main() -> None:
    with serve_hub() as hub:
        for folder in sorted(Path(sys.argv[1]).glob("*/*")):
            hub.add("/".join(folder.parts[-2:]), folder, licence="apache-2.0")
        print(hub.url, flush=True)  # noqa: T201
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
