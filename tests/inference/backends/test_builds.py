"""The store of builds: what makes one valid, and what an interruption or a change leaves of it."""

import errno
import json
import os
from dataclasses import replace

import pytest

from bot.errors import ModelRefused
from bot.ports import BuildRequest
from inference.backends import builds
from inference.backends.builder_client import BuilderClient
from tests.inference.support import make_model
from tests.model_manager_fixture import FASTER


@pytest.fixture
def env(tmp_path, monkeypatch):
    """A model with weights, and the folder of builds in a data directory."""
    monkeypatch.setattr(builds, "library_version", lambda backend: {"openvino": "1.0"}.get(backend, ""))
    monkeypatch.setattr(builds, "processor_name", lambda: "a processor")
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    (tmp_path / "model" / "unet").mkdir(parents=True)
    (tmp_path / "model" / "unet" / "weights.safetensors").write_bytes(b"weights")
    return tmp_path


@pytest.fixture
def model(env):
    return make_model("fox", repo=str(env / "model"), backend="openvino")


def make_build(env, model, **request):
    asked = BuildRequest(**{"model": model, "backend": "openvino"} | request)
    folder = env / builds.FOLDER
    unfinished = builds.start_build(folder)
    (unfinished / "graph.xml").write_text("a graph")
    return builds.finish_build(unfinished, asked, builds.key_parts(asked, folder), FASTER)


def test_a_build_is_found_by_what_it_was_made_from(env, model):
    build = make_build(env, model)

    assert builds.find_build(model, "float32") == build.path
    assert build.report == builds.list_builds(env / builds.FOLDER)[0].report == FASTER
    assert builds.find_build(model, "bfloat16") is None
    assert builds.find_build(replace(model, backend="onnx"), "float32") is None
    assert builds.find_build(replace(model, quantize="8bit"), "float32") is None
    assert list((env / builds.FOLDER).glob(f"{builds.UNFINISHED}*")) == []


def other_weights(env, monkeypatch):
    (env / "model" / "unet" / "weights.safetensors").write_bytes(b"other weights")


def other_library(env, monkeypatch):
    monkeypatch.setattr(builds, "library_version", lambda _: "2.0")


def no_library(env, monkeypatch):
    monkeypatch.setattr(builds, "library_version", lambda _: "")


def other_processor(env, monkeypatch):
    monkeypatch.setattr(builds, "processor_name", lambda: "another processor")


def other_easel(env, monkeypatch):
    monkeypatch.setattr(builds, "graph_form", lambda: "other inputs")


def cut_short(env, monkeypatch):
    next((env / builds.FOLDER).glob("*/graph.xml")).write_text("")


def lost_file(env, monkeypatch):
    next((env / builds.FOLDER).glob("*/graph.xml")).unlink()


def other_bytes(env, monkeypatch):
    next((env / builds.FOLDER).glob("*/graph.xml")).write_bytes(bytes(len("a graph")))


def lost_model(env, monkeypatch):
    (env / "model").rename(env / "elsewhere")


CHANGES = {
    other_weights: "weights",
    other_library: "library",
    no_library: "library",
    other_processor: "processor",
    other_easel: "form",
    cut_short: "damaged",
    lost_file: "damaged",
    other_bytes: "damaged",
    lost_model: "weights",
}


@pytest.mark.parametrize(("change", "problem"), CHANGES.items(), ids=lambda one: getattr(one, "__name__", one))
def test_a_build_that_does_not_fit_any_more_is_not_used(env, model, monkeypatch, change, problem):
    make_build(env, model)
    change(env, monkeypatch)

    assert builds.find_build(model, "float32") is None
    (state,) = BuilderClient(env / builds.FOLDER).list_states([model])
    assert (state.problem, state.size_mb) == (problem, 1)


def manifest_of(env):
    path = next((env / builds.FOLDER).glob(f"*/{builds.MANIFEST}"))
    return path, json.loads(path.read_text())


DAMAGES = {
    "no words in parts": {"parts": {"model": 1}},
    "a list of parts": {"parts": []},
    "loras": {"loras": 5},
    "a lora": {"loras": [["a", "b"]]},
    "no files": {"files": {}},
    "a list of files": {"files": ["graph.xml"]},
    "a size only": {"files": {"graph.xml": 7}},
    "a file above": {"files": {"../../model/unet/weights.safetensors": [7, "0" * 64]}},
    "an absolute file": {"files": {"/etc/hostname": [7, "0" * 64]}},
    "a name of no file": {"files": {"graph\0": [7, "0" * 64]}},
    "a long name": {"files": {"g" * 5000: [7, "0" * 64]}},
    "no report": {"report": None},
    "words for numbers": {"report": {"levels": "many"}},
    "infinite seconds": {"report": {"speeds": [[1, float("inf"), float("nan")]]}},
    "a huge number": {"report": {"disk_mb": 10**400}},
    "short speeds": {"report": {"speeds": [[1]]}},
    "another key": {"parts": {"processor": "of another machine"}},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_manifest_is_no_build(env, model, damage):
    make_build(env, model)
    path, manifest = manifest_of(env)
    for field, value in damage.items():
        is_part = isinstance(value, dict) and value and field != "files"
        manifest[field] = manifest[field] | value if is_part else value
    path.write_text(json.dumps(manifest))

    assert builds.find_build(model, "float32") is None
    (state,) = BuilderClient(env / builds.FOLDER).list_states([model])
    assert state.problem in ("damaged", "processor")


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, "[]", "\ud800", "5"], ids=["cut", "deep", "list", "no UTF-8", "number"]
)
def test_a_build_without_a_readable_manifest_is_deleted_at_the_next_start(env, model, text):
    make_build(env, model)
    kept = make_build(env, replace(model, name="other"))
    path = next(one.path for one in builds.list_builds(env / builds.FOLDER) if one.names[0] == "fox")
    (path / builds.MANIFEST).write_bytes(text.encode(errors="surrogatepass"))
    (env / builds.FOLDER / f".{builds.HASHES}.abc").write_text("half")

    assert builds.find_build(model, "float32") is None
    nameless = [one for one in BuilderClient(env / builds.FOLDER).list_states([]) if not one.model]
    assert [one.problem for one in nameless] == ["damaged"]
    assert builds.remove_unfinished(env / builds.FOLDER) == 2
    assert {path.name for path in (env / builds.FOLDER).iterdir()} == {kept.path.name, builds.HASHES}


def test_links_out_of_the_folder_are_not_followed(env, model):
    build = make_build(env, model)
    outside = env / "outside"
    (build.path / "graph.xml").rename(outside)
    (build.path / "graph.xml").symlink_to(outside)

    assert builds.find_build(model, "float32") is None
    link = env / builds.FOLDER / ("0" * 64)
    link.symlink_to(env / "model")
    assert BuilderClient(env / builds.FOLDER).remove("fox") > 0
    builds.remove_unfinished(env / builds.FOLDER)
    assert not link.is_symlink()
    assert outside.exists()
    assert (env / "model" / "unet" / "weights.safetensors").exists()


def test_what_is_known_of_files_may_be_damaged(env, model):
    build = make_build(env, model)
    path = env / builds.FOLDER / builds.HASHES
    known = json.loads(path.read_text())
    path.write_text(json.dumps({name: value[:2] for name, value in known.items()}))

    assert builds.find_build(model, "float32") == build.path
    path.write_text(json.dumps({name: {"size": 1} for name in known}))
    assert builds.find_build(model, "float32") == build.path


def test_deleted_files_are_forgotten(env, model):
    build = make_build(env, model)
    builds.remove_builds([build])
    make_build(env, replace(model, name="other"))

    known = json.loads((env / builds.FOLDER / builds.HASHES).read_text())
    assert not any(build.path.name in path for path in known)


def test_builds_that_cannot_be_deleted_are_said(env, model, monkeypatch):
    kept, other = make_build(env, model), make_build(env, model, precision="bfloat16")
    delete = builds.shutil.rmtree

    def refuse(path):
        if path == kept.path:
            raise PermissionError(errno.EACCES, "Permission denied")
        delete(path)

    monkeypatch.setattr(builds.shutil, "rmtree", refuse)
    with pytest.raises(ModelRefused, match="build") as refused:
        BuilderClient(env / builds.FOLDER).remove("fox")
    assert refused.value.detail == f"its builds in {env / builds.FOLDER} cannot be deleted (Permission denied)"
    assert not other.path.exists()


def test_a_fused_lora_is_part_of_the_build(env, model):
    (env / "style.safetensors").write_bytes(b"style")
    fused = replace(model, loras=(str(env / "style.safetensors"),))
    make_build(env, model)

    assert builds.find_build(fused, "float32") is None
    build = make_build(env, fused)
    assert builds.find_build(fused, "float32") == build.path


def test_the_successor_replaces_builds_that_are_not_valid_any_more(env, model, monkeypatch):
    make_build(env, model)
    kept = [make_build(env, model, precision="bfloat16"), make_build(env, replace(model, name="other"))]
    other_library(env, monkeypatch)
    new = make_build(env, model)

    found = {build.path for build in builds.list_builds(env / builds.FOLDER)}
    assert found == {new.path, *(build.path for build in kept)}


def test_a_damaged_build_is_made_again(env, model, monkeypatch):
    make_build(env, model)
    cut_short(env, monkeypatch)

    assert make_build(env, model).path == builds.find_build(model, "float32")


def test_what_a_killed_build_has_left_is_removed(env, model):
    build = make_build(env, model)
    (builds.start_build(env / builds.FOLDER) / "graph.bin").write_bytes(b"half")

    assert builds.remove_unfinished(env / builds.FOLDER) == 1
    assert {path.name for path in (env / builds.FOLDER).iterdir() if path.is_dir()} == {build.path.name}


def test_a_build_whose_folder_cannot_be_renamed_is_not_there(env, model, monkeypatch):
    monkeypatch.setattr(builds, "fsync_path", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))

    with pytest.raises(OSError, match="full"):
        make_build(env, model)
    assert builds.find_build(model, "float32") is None


def test_large_weights_are_read_once(env, model, monkeypatch):
    make_build(env, model)
    monkeypatch.setattr(builds.hashlib, "file_digest", lambda *_: pytest.fail("read again"))

    assert builds.find_build(model, "float32") is not None


def test_the_hubs_cache_names_files_by_their_hash(env, model):
    blob = env / ("f" * 64)
    blob.write_bytes(b"weights")
    link = env / "model" / "unet" / "weights.safetensors"
    link.unlink()
    os.symlink(blob, link)

    assert builds.FileHashes(env).hash_of(link) == "f" * 64


def test_a_damaged_build_of_a_removed_model_is_reported_as_one(env, model, monkeypatch):
    make_build(env, model)
    cut_short(env, monkeypatch)

    assert [state.problem for state in BuilderClient(env / builds.FOLDER).list_states([])] == ["model"]


def test_builds_are_counted_and_removed(env, model):
    make_build(env, model)
    make_build(env, replace(model, name="other"))
    client = BuilderClient(env / builds.FOLDER)

    assert builds.builds_size_mb(env / builds.FOLDER) == 1
    assert client.remove("fox") > 0
    assert [state.model for state in client.list_states([])] == ["other"]
    assert client.remove("fox") == 0


def test_a_manifest_says_what_was_measured(env, model):
    manifest = json.loads((make_build(env, model).path / builds.MANIFEST).read_text())

    assert manifest["parts"] == {
        "model": "fox", "weights": manifest["parts"]["weights"], "backend": "openvino", "precision": "float32",
        "weight_format": "none", "library": "1.0", "processor": "a processor", "form": builds.graph_form(),
    }  # fmt: skip
    assert manifest["report"]["speeds"][0] == [1, 0.3, 0.2]
