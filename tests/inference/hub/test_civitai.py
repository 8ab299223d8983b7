"""Links to Civitai, and downloads from a server on loopback that stands for it and from a second one, its storage."""

import hashlib
import json
import os
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bot import error_texts
from bot.errors import DownloadFailed, ModelRefused
from bot.model_install.civitai_link import is_civitai_link, parse_civitai_link
from bot.ports import CivitaiRef
from inference.hub.client import HubClient
from inference.ipc import messages

WEIGHTS = bytes(range(256)) * 300
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.mark.parametrize(
    ("link", "ref"),
    [
        ("https://civitai.com/models/122359", CivitaiRef(model_id=122359)),
        ("https://civitai.com/models/122359/detail-tweaker-xl", CivitaiRef(model_id=122359)),
        ("https://civitai.com/models/122359?modelVersionId=135867", CivitaiRef(model_id=122359, version_id=135867)),
        ("civitai.green/models/1/x?modelVersionId=2#y", CivitaiRef(model_id=1, version_id=2)),
        ("https://civitai.com/models/1?modelVersionId=x", CivitaiRef(model_id=1)),
        ("https://civitai.com/api/download/models/135867?token=s", CivitaiRef(version_id=135867)),
        (
            "https://civitai.com/api/download/models/1?type=Model&fp=fp16&token=s",
            CivitaiRef(version_id=1, file_fields=(("type", "Model"), ("fp", "fp16"))),
        ),
        ("HTTPS://WWW.Civitai.com:443/models/1 ", CivitaiRef(model_id=1)),
        ("https://www.civitai.red/models/1", CivitaiRef(model_id=1)),
        ("https://civitai.com/model-versions/135867", CivitaiRef(version_id=135867)),
        ("https://civitai.com/api/v1/model-versions/135867", CivitaiRef(version_id=135867)),
        ("urn:air:sdxl:lora:civitai:122359@135867", CivitaiRef(model_id=122359, version_id=135867)),
        ("civitai:122359", CivitaiRef(model_id=122359)),
        ("https://civitai.com/images/7", None),
        ("https://civitai.com/", None),
    ],
)
def test_links_to_civitai_are_recognised(link, ref):
    assert is_civitai_link(link, "https://civitai.com")
    assert parse_civitai_link(link) == ref


@pytest.mark.parametrize(
    "source",
    [
        "org/name", "civitai/name", "/models/7", "https://evil.com/civitai.com/models/7",
        "https://civitai.com@evil.com/models/7", "https://civitai.com.evil.com/models/7", "https://civitai.com:8/models/7",
        "https://[civitai.com/models/7", "https://civitai.com:x/models/7", "file://civitai.com/models/7",
    ],
)  # fmt: skip
def test_other_sources_are_not_civitai(source):
    assert not is_civitai_link(source, "https://civitai.com")


class Site:
    """Answers by path: JSON, bytes, or a redirect. `seen`: the paths with their Authorization."""

    def __init__(self):
        self.answers, self.seen = {}, []

    @contextmanager
    def serve(self):
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.seen.append((self.path.partition("?")[0], self.headers.get("Authorization", "")))
                status, body = site.answers.get(self.path.partition("?")[0], (404, b"{}"))
                self.send_response(status)
                if isinstance(body, str):
                    self.send_header("Location", body)
                    body = b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            self.url = f"http://127.0.0.1:{server.server_port}"
            yield self
            server.shutdown()


@pytest.fixture
def storage():
    with Site().serve() as site:
        site.answers["/signed"] = (200, WEIGHTS)
        yield site


def file_entry(**more):
    return {
        "name": "Ink_v2.safetensors", "type": "Model", "primary": True, "sizeKB": len(WEIGHTS) / 1024,
        "hashes": {"SHA256": SHA256.upper()}, "downloadUrl": "https://civitai.com/api/download/models/20?fp=fp16",
    } | more  # fmt: skip


def version_of(*files, **more):
    body = {"id": 20, "modelId": 7, "name": "v2", "trainedWords": ["ink drawing", "  x\n"], "files": list(files)}
    return json.dumps({**body, "model": {"name": "Ink"}, **more}).encode()


@pytest.fixture
def civitai(storage):
    with Site().serve() as site:
        site.answers["/api/v1/model-versions/20"] = (200, version_of(file_entry()))
        site.answers["/api/download/models/20"] = (307, f"{storage.url}/signed")
        yield site


@pytest.fixture
def client(civitai, forked_workers):
    environ = {name: value for name, value in os.environ.items() if not name.casefold().endswith("_proxy")}
    return HubClient(
        "hf_secret",
        civitai_token="civitai_secret",
        environ={**environ, "CIVITAI_ENDPOINT": civitai.url},
        retry_policy=messages.RetryPolicy(stall_timeout_s=10, max_attempts=2, backoff_s=0.01),
    )


@pytest.mark.process
async def test_a_file_is_found_downloaded_and_verified_and_its_token_stays_with_civitai(
    civitai, storage, client, tmp_path
):
    ref = client.civitai_ref(f"{civitai.url}/models/7?modelVersionId=20")

    file = await client.inspect_civitai(ref)
    path = await client.download_civitai(file, tmp_path / "checkpoints")

    assert (file.title, file.file, file.sha256) == ("Ink v2", "Ink_v2.safetensors", SHA256)
    assert file.trigger_words == ("ink drawing", "x")
    assert path.read_bytes() == WEIGHTS
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert {token for _, token in civitai.seen} == {"Bearer civitai_secret"}
    assert storage.seen
    assert {token for _, token in storage.seen} == {""}
    assert "civitai_secret" not in repr(client)


@pytest.fixture
def inspect(civitai, monkeypatch):
    """The worker's own functions, in this process."""
    from inference.hub import civitai as worker

    monkeypatch.setenv("CIVITAI_ENDPOINT", civitai.url)
    for name in [name for name in os.environ if name.casefold().endswith("_proxy")]:
        monkeypatch.delenv(name)
    return worker


def test_the_newest_version_with_safetensors_is_chosen(civitai, inspect):
    early = {"id": 21, "name": "v3", "files": [file_entry(name="a.ckpt")]}
    done = json.loads(version_of(file_entry(name="b.safetensors", primary=False), file_entry(type="VAE"), name="v2"))
    civitai.answers["/api/v1/models/7"] = (200, json.dumps({"name": "Ink", "modelVersions": [early, done]}).encode())

    file = inspect.inspect(CivitaiRef(model_id=7), "")

    assert (file.title, file.file, file.page) == ("Ink v2", "b.safetensors", f"{civitai.url}/models/7")
    assert file.url == f"{civitai.url}/api/download/models/20?fp=fp16"
    assert civitai.seen == [("/api/v1/models/7", "")]


FILES = [
    file_entry(name="full.safetensors", metadata={"fp": "fp32", "size": "full", "format": "SafeTensor"}),
    file_entry(name="half.safetensors", primary=False, metadata={"fp": "fp16", "size": "pruned"}),
    file_entry(name="vae.safetensors", primary=False, type="VAE", metadata=None),
    file_entry(name="old.ckpt", primary=False, metadata={"format": "PickleTensor"}),
]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", "full.safetensors"),
        ("type=Model&format=SafeTensor&size=pruned&fp=fp16", "half.safetensors"),
        ("type=VAE", "vae.safetensors"),
        ("type=Model&fp=FP32", "full.safetensors"),
    ],
)
def test_a_download_link_means_the_file_that_it_describes(civitai, inspect, query, name):
    civitai.answers["/api/v1/model-versions/20"] = (200, version_of(*FILES))

    assert inspect.inspect(parse_civitai_link(f"{civitai.url}/api/download/models/20?{query}"), "").file == name


def test_no_other_file_is_taken_for_the_one_that_a_link_describes(civitai, inspect):
    civitai.answers["/api/v1/model-versions/20"] = (200, version_of(*FILES))

    with pytest.raises(DownloadFailed) as failed:
        inspect.inspect(parse_civitai_link("https://civitai.com/api/download/models/20?type=Model&fp=bf16"), "")

    assert (failed.value.problem, failed.value.detail) == ("no_file", "type=Model, fp=bf16")


@pytest.mark.parametrize(
    ("answer", "token", "problem"),
    [
        ((401, b"{}"), "", "civitai_login"),
        ((403, b"{}"), "t", "civitai_forbidden"),
        ((404, b"{}"), "", "civitai_missing"),
        ((503, b""), "", "busy"),
        ((302, "https://elsewhere.test/"), "t", "civitai_odd"),
        ((200, b"<html>"), "", "civitai_odd"),
        ((200, b"[" * 100_000), "", "civitai_odd"),
        ((200, b'{"files": 7, "model": 1, "trainedWords": {}}'), "", "civitai_odd"),
        ((200, version_of(file_entry(name="x.ckpt"))), "", "no_weights"),
        ((200, version_of(file_entry(hashes={}))), "", "no_hash"),
        ((200, version_of(file_entry(virusScanResult="Danger"))), "", "civitai_unsafe"),
        ((200, version_of(file_entry(pickleScanResult="Danger"))), "", "civitai_unsafe"),
        ((200, b" " * (8 * 2**20) + version_of(file_entry())), "", "civitai_odd"),
        ((429, b"{}"), "", "busy"),
        ((200, version_of(file_entry(downloadUrl="https://civitai.com/evil"))), "", "civitai_odd"),
    ],
)
def test_an_answer_without_a_usable_file_is_told(civitai, inspect, answer, token, problem):
    civitai.answers["/api/v1/model-versions/20"] = answer

    with pytest.raises(DownloadFailed) as failed:
        inspect.inspect(CivitaiRef(version_id=20), token)

    assert failed.value.problem == problem
    assert "{" not in error_texts.explain(failed.value)


@pytest.mark.parametrize(
    ("path", "answer", "problem"),
    [
        ("/api/download/models/20", (401, b""), "civitai_login"),
        ("/api/download/models/20", (307, "/login?returnUrl=/models/7&reason=download-auth"), "civitai_login"),
        ("/api/download/models/20", (307, "/api/download/models/20"), "civitai_odd"),
        ("/api/download/models/20", (307, "ftp://elsewhere.test/x"), "civitai_odd"),
        ("/signed", (200, WEIGHTS[::-1]), "wrong_hash"),
        ("/signed", (200, WEIGHTS * 2), "wrong_hash"),
    ],
)
def test_a_download_that_fails_leaves_no_file(civitai, storage, inspect, tmp_path, path, answer, problem):
    file = inspect.inspect(CivitaiRef(version_id=20), "")
    (storage if path == "/signed" else civitai).answers[path] = answer

    with pytest.raises(DownloadFailed) as failed:
        inspect.download(file, tmp_path, "", messages.RetryPolicy(max_attempts=1, backoff_s=0.0))

    assert failed.value.problem == problem
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size_kb", [len(WEIGHTS) / 1024, 0])
@pytest.mark.parametrize("answer", [(200, b""), (200, WEIGHTS[:-1]), (302, "/elsewhere"), (418, b"")])
def test_a_storage_that_never_sends_the_file_is_given_up(
    civitai, storage, inspect, tmp_path, monkeypatch, answer, size_kb
):
    civitai.answers["/api/v1/model-versions/20"] = (200, version_of(file_entry(sizeKB=size_kb)))
    file = inspect.inspect(CivitaiRef(version_id=20), "")
    location: tuple[str, dict[str, str], int] = (f"{storage.url}/signed", {}, len(WEIGHTS) if size_kb else 0)
    monkeypatch.setattr(inspect, "_resolve", lambda *_: location)
    storage.answers["/signed"] = answer

    with pytest.raises(DownloadFailed) as failed:
        inspect.download(file, tmp_path, "", messages.RetryPolicy(max_attempts=2, backoff_s=0.0))

    assert failed.value.problem in ("broken", "wrong_hash")
    assert len(storage.seen) <= 4


def test_an_interrupted_download_is_resumed(civitai, inspect, tmp_path):
    file = inspect.inspect(CivitaiRef(version_id=20), "")
    (tmp_path / f"{SHA256}.safetensors.part").write_bytes(WEIGHTS)

    assert inspect.download(file, tmp_path, "", messages.RetryPolicy()).read_bytes() == WEIGHTS


def test_a_file_that_is_present_is_not_downloaded_again(civitai, storage, inspect, tmp_path):
    file = inspect.inspect(CivitaiRef(version_id=20), "")
    path = inspect.download(file, tmp_path, "", messages.RetryPolicy())
    storage.seen.clear()

    assert inspect.download(file, tmp_path, "", messages.RetryPolicy()) == path
    assert storage.seen == []


@pytest.mark.parametrize("inside", ["10.1.2.3", "127.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0"])
def test_a_redirect_into_the_private_network_is_not_followed(civitai, storage, inspect, monkeypatch, inside):
    hosts = {"127.0.0.1": "104.22.18.237", "storage.test": inside}
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *more: [(0, 0, 0, "", (hosts[host], 0))] if len(more) == 1 else resolve(host, *more),
    )
    file = inspect.inspect(CivitaiRef(version_id=20), "")
    civitai.answers["/api/download/models/20"] = (307, "https://storage.test/latest/meta-data")

    with pytest.raises(DownloadFailed) as failed:
        inspect._resolve(file, "token")

    assert failed.value.problem == "civitai_odd"


def test_a_link_that_names_no_model_is_refused_without_its_token():
    with pytest.raises(ModelRefused) as refused:
        HubClient().civitai_ref("https://civitai.com/images/7?token=secret")

    assert "secret" not in error_texts.explain(refused.value)
