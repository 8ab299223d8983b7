"""Adapters of tiny BLIP-2 models with OPT and with T5, with random weights: what is trained, what is not, and what a
training leaves that was interrupted."""

import errno
import json
import shutil
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file
from transformers import Blip2ForConditionalGeneration

from bot.error_texts import explain
from bot.errors import TrainingRefused
from bot.ports import NO_REPLAY, TrainingReport
from inference.engine.base import build_engine
from inference.learning import adapter_folder, replay, training_loop, vision_training
from inference.learning.blip_texts import BlipTexts
from inference.learning.training_loop import CHECKPOINT
from inference.learning.training_run import run_training, to_refusal
from inference.learning.vision_training import train_vision_adapter
from inference.vision.loader import load_blip
from tests.inference.learning.trainings import make_request, make_session, write_folder
from tests.inference.support import make_model
from tests.inference.tiny import save_blip
from tests.inference.vision_reference import TASKS, answer
from tests.inference.vision_reference import make_request as make_task

STEPS = 6


@pytest.fixture(scope="module", autouse=True)
def quick_training():
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision_training, "FORMS", 2)
        patch.setattr(vision_training, "REPLAY_FORMS", 1)
        patch.setattr(vision_training, "BATCH", 4)
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: save_blip(folder / name, name) for name in ("opt", "t5")}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A replay folder."""
    folder = tmp_path_factory.mktemp("known")
    for number in range(30):
        Image.new("RGB", (16, 16), (number, 255 - number, 128)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"none")
    return folder


@pytest.fixture
def place(tmp_path):
    write_folder(tmp_path / "folder", 12)
    return tmp_path


@dataclass
class Trained:
    """A training that is over: its folder, its report, its model by its language model's name, and the model's weights
    before and after."""

    place: Path
    report: TrainingReport
    name: str
    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def trainings(models, known, tmp_path_factory):
    return {name: train_once(tmp_path_factory.mktemp(name), name, models[name], known) for name in models}


def train_once(place, name, model, known):
    write_folder(place / "folder", 12)
    seen = {}

    def load(*given):
        blip, processor = load_blip(*given)
        seen["blip"], seen["before"] = blip, {key: one.clone() for key, one in blip.state_dict().items()}
        return blip, processor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision_training, "load_blip", load)
        report = train_vision_adapter(session_for(place, model, known))
    return Trained(place, report, name, seen["before"], seen["blip"].state_dict())


@pytest.fixture(params=["opt", "t5"])
def trained(request, trainings):
    return trainings[request.param]


@pytest.fixture
def resumed(trainings, tmp_path):
    """A copy of a training that is over."""
    return shutil.copytree(trainings["opt"].place, tmp_path / "resumed")


def session_for(place, model, known, **fields):
    return make_session(place, repo=str(model), replay=str(known), steps=STEPS, **fields)


def weights_of(place):
    return load_file(place / "adapters" / "foxes" / adapter_folder.WEIGHTS)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_an_adapter_reloads_with_peft_and_answers_as_in_its_test(trained, models):
    place, report, name = trained.place, trained.report, trained.name
    blip = Blip2ForConditionalGeneration.from_pretrained(models[name], dtype=torch.float32)
    spec = make_model("tiny", repo=str(models[name]), max_new_tokens=8)
    _, processor = load_blip(spec, models[name], "cpu")

    adapted = PeftModel.from_pretrained(blip, place / "adapters" / "foxes").eval()

    example = next(one for one in report.examples if one.is_new)
    image = Image.open(place / "folder" / example.file)
    pixels = processor.image_processor(images=image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        states = blip.vision_model(pixels).last_hidden_state.half().float()
    assert BlipTexts(adapted.base_model.model, processor, spec).answer(states, [example.question]) == [example.after]


def test_lora_is_on_attention_and_the_projection_only(trained):
    place, name = trained.place, trained.name
    layers = {key.split(".lora_")[0].rpartition(".")[2] for key in weights_of(place)}

    language = {"q_proj", "k_proj", "v_proj", "out_proj"} if name == "opt" else {"q", "v"}
    assert layers == {"query", "key", "value", "dense", "language_projection"} | language
    assert not [key for key in weights_of(place) if "vision_model" in key or "intermediate" in key or ".fc" in key]
    assert any("crossattention" in key for key in weights_of(place))
    assert all(tensor.dtype is torch.float32 for tensor in weights_of(place).values())


def test_the_folder_is_in_the_layout_of_the_hub(trained):
    place, report, name = trained.place, trained.report, trained.name
    folder = place / "adapters" / "foxes"

    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["adapter_model.safetensors", "adapter_config.json", "README.md", "report.json"]
    )
    stored = json.loads((folder / "report.json").read_text())
    assert stored["sha256"] == report.sha256 == adapter_folder.sha256_of(folder / "adapter_model.safetensors")
    assert stored["is_accepted"] is report.is_accepted is False
    card = (folder / "README.md").read_text()
    assert card.startswith(f'---\nbase_model: "{name}"\n')
    assert "trained with Easel on 8 examples" in card
    assert str(place.parent) not in card + (folder / "adapter_config.json").read_text()
    assert 'library_name: "peft"' in card
    assert not list((place / "adapters").glob(".*"))


def test_the_report_counts_new_and_old_questions(trained):
    report = trained.report

    assert report.new_after.total == sum(one.is_held_out for one in report.trained) == 4
    assert len(report.trained) == 12
    assert len(report.examples) == 10
    assert report.old_before.percent == 100
    assert report.old_before.total >= 100
    assert report.steps == STEPS
    assert [step for step, _ in report.losses] == list(range(1, STEPS + 1))
    assert report.peak_mb > 50
    assert report.revision


def test_only_lora_layers_change(trained):
    after = {key.replace(".base_layer", ""): one for key, one in trained.after.items() if "lora_" not in key}

    assert after.keys() == trained.before.keys()
    assert all(torch.equal(after[key], one) for key, one in trained.before.items())
    assert any(float(one.abs().max()) > 0 for key, one in trained.after.items() if "lora_B" in key)


class Killed(Exception):
    pass


def kill_at(stage, done):
    def send(progress):
        if progress.stage == stage and progress.done >= done:
            raise Killed

    return send


@pytest.mark.parametrize(
    ("name", "stage", "done"),
    [
        ("opt", "encoding", 16),
        ("opt", "replaying", 32),
        ("opt", "training", 3),
        ("t5", "training", 3),
        ("opt", "testing", 0),
    ],
)
def test_a_killed_training_resumes_to_the_same_weights(name, stage, done, place, models, known, monkeypatch, trainings):
    always = partial(training_loop.LoopSettings, save_every_s=0.0)
    monkeypatch.setattr(vision_training, "LoopSettings", always)
    monkeypatch.setattr("inference.learning.training_session.MIN_INTERVAL_S", 0.0)
    with pytest.raises(Killed):
        train_vision_adapter(session_for(place, models[name], known, send=kill_at(stage, done)))
    assert not (place / "adapters" / "foxes").exists()
    assert (place / "work" / "state" / CHECKPOINT).exists() == (stage == "training")

    report = train_vision_adapter(session_for(place, models[name], known))

    assert report.steps == STEPS
    expected, resumed = weights_of(trainings[name].place), weights_of(place)
    assert max(float((resumed[key] - one).abs().max()) for key, one in expected.items()) == 0.0


def test_a_checkpoint_has_adapter_and_optimizer_only(trained):
    stored = training_loop.load_checkpoint(trained.place / "work" / "state" / CHECKPOINT)

    assert stored is not None
    assert all("lora_" in key for key in stored["weights"])
    assert set(stored) == {"weights", "optimizer", "state"}
    assert not list((trained.place / "work").rglob("*.part"))


def test_a_damaged_checkpoint_is_ignored(resumed, models, known):
    file = resumed / "work" / "state" / CHECKPOINT
    file.write_bytes(file.read_bytes()[:-200])
    expected = weights_of(resumed)

    train_vision_adapter(session_for(resumed, models["opt"], known))

    assert all(torch.equal(weights_of(resumed)[key], one) for key, one in expected.items())


def test_an_example_that_is_gone_leaves_features_answers_and_checkpoint(resumed, models, known):
    (resumed / "work" / "state" / "mark").touch()
    (resumed / "work" / "order.json").touch()
    lines = (resumed / "folder" / "metadata.jsonl").read_text().splitlines()
    (resumed / "folder" / "metadata.jsonl").write_text("\n".join(lines[1:]) + "\n")

    report = train_vision_adapter(session_for(resumed, models["opt"], known))

    assert not (resumed / "work" / "state" / "mark").exists()
    assert (resumed / "work" / "order.json").exists()
    assert len(report.trained) == 11


def test_corrections_are_named_but_those_that_the_model_cannot_write_are_left_out(place, models, known):
    change_line(place, 4, {"question": "what is this ?", "answer": "a lynx"})
    corrections = {f"{number}.png": f"c{number}" for number in range(1, 12)}

    report = train_vision_adapter(session_for(place, models["opt"], known, corrections=corrections))

    assert {one.correction for one in report.trained} == {None, *corrections.values()} - {"c3"}
    assert len(report.trained) == 11
    assert not {one.file for one in report.examples if one.is_new} & set(corrections)


def test_a_training_waits_while_people_wait(resumed, models, known):
    (resumed / "work" / "state" / CHECKPOINT).unlink()
    is_free, sent = threading.Event(), []

    def send(progress):
        sent.append(progress.stage)
        if progress.stage == "waiting":
            is_free.set()
        elif progress.stage == "training" and "waiting" not in sent[sent.index("training") :]:
            is_free.clear()

    train_vision_adapter(session_for(resumed, models["opt"], known, send=send, is_free=is_free))

    assert sent[0] == "waiting"
    assert "waiting" in sent[sent.index("training") :]


def test_a_full_disk_leaves_a_sentence_and_no_adapter(resumed, models, known, monkeypatch):
    shutil.rmtree(resumed / "adapters")

    def fail(*given, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PeftModel, "save_pretrained", fail)
    packed = run_training(session_for(resumed, models["opt"], known).request, free(), lambda progress: None)

    assert packed.name == "TrainingRefused"
    assert dict(packed.fields)["problem"] == "disk_full"
    assert list((resumed / "adapters").iterdir()) == []


def test_an_adapter_that_fails_keeps_the_old_one(resumed, models, known, monkeypatch):
    monkeypatch.setattr(PeftModel, "save_pretrained", lambda *given, **more: 1 / 0)
    old = weights_of(resumed)

    packed = run_training(session_for(resumed, models["opt"], known).request, free(), lambda progress: None)

    assert dict(packed.fields)["problem"] == "failed"
    assert all(torch.equal(weights_of(resumed)[key], one) for key, one in old.items())


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "full"), "The disk is full."),
        (OSError(errno.EACCES, "Permission denied", "/adapters"), "/adapters cannot be written (Permission denied)"),
        (OSError(errno.ENOENT, "No such file", "/1.png"), "The training failed (/1.png: No such file)"),
        (MemoryError(), "Memory ran out during the training."),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"), "Memory ran out"),
        (ValueError("odd\nlines"), "The training failed (odd); nothing has changed."),
    ],
)
def test_every_error_is_a_sentence(error, sentence, tmp_path):
    assert explain(to_refusal(error, make_request(tmp_path))).startswith(sentence)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            {"question": "what is this ?", "answer": "a lynx"},
            "Line 3 of metadata.jsonl uses words that tiny cannot write: lynx.",
        ),
        (
            {"caption": "a fox " * 40},
            "Line 3 of metadata.jsonl is too long for tiny: it has 81 tokens, and 8 are allowed.",
        ),
        ({"question": "a fox " * 80, "answer": "a cat"}, "is too long for tiny"),
    ],
)
def test_a_text_that_the_model_cannot_take_is_refused(line, sentence, place, models, known):
    change_line(place, 3, line)

    with pytest.raises(TrainingRefused) as refused:
        train_vision_adapter(session_for(place, models["opt"], known))

    assert sentence in explain(refused.value)


def test_a_model_that_is_no_blip_is_refused(place, models, known, tmp_path):
    other = shutil.copytree(models["opt"], tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "qwen2_vl"}')

    with pytest.raises(TrainingRefused) as refused:
        train_vision_adapter(session_for(place, other, known))

    assert explain(refused.value) == "tiny cannot be trained: adapters are trained for BLIP-2, this is qwen2_vl."


def test_a_replay_folder_needs_enough_pictures(place, models, tmp_path):
    few = tmp_path / "few"
    few.mkdir()

    with pytest.raises(TrainingRefused) as refused:
        train_vision_adapter(session_for(place, models["opt"], few))

    assert "has 0 pictures, but replay needs at least 30" in explain(refused.value)


def test_without_replay_old_answers_are_still_tested(place, models, known, monkeypatch):
    monkeypatch.setattr(replay, "_draw_pictures", lambda session, count: sorted(known.glob("[0-9]*.png"))[:count])
    monkeypatch.setattr(replay, "TESTED_IMAGES", 10)

    report = train_vision_adapter(make_session(place, repo=str(models["opt"]), replay=NO_REPLAY, steps=2))

    assert report.old_before.total >= 30


@pytest.fixture
def in_bfloat16(monkeypatch):
    """As on a GPU, but on the processor."""
    monkeypatch.setattr(training_loop, "can_train_in_bfloat16", lambda device: True)
    monkeypatch.setattr(vision_training, "can_train_in_bfloat16", lambda device: True)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("name", ["opt", "t5"])
def test_in_bfloat16_the_adapter_is_float32(name, place, models, known, in_bfloat16):
    report = train_vision_adapter(make_session(place, repo=str(models[name]), replay=str(known), steps=2))

    assert all(one.dtype is torch.float32 and one.isfinite().all() for one in weights_of(place).values())
    assert all(loss == loss for _, loss in report.losses)


@pytest.mark.parametrize("name", ["opt", "t5"])
def test_answers_are_those_of_the_engine(name, models):
    spec = make_model("tiny", tasks=TASKS, repo=str(models[name]), max_new_tokens=8)
    blip, processor = load_blip(spec, models[name], "cpu")
    engine = build_engine(spec)
    engine.load_model("cpu")
    task = make_task("what is this ?", min_new_tokens=0, max_new_tokens=8)
    image = Image.new("RGB", (24, 16), "red")
    pixels = processor.image_processor(images=image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        states = blip.vision_model(pixels).last_hidden_state

    texts = BlipTexts(blip, processor, spec)
    assert texts.answer(states, ["what is this ?"]) == [answer(engine, task)]


def change_line(place, number, line):
    file = place / "folder" / "metadata.jsonl"
    lines = file.read_text().splitlines()
    lines[number - 1] = json.dumps({"file_name": f"{number - 1}.png"} | line)
    file.write_text("\n".join(lines))


def free():
    event = threading.Event()
    event.set()
    return event
