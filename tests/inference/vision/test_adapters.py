"""Adapters in the vision engine: requests with different ones, and with none, share passes and equal each alone."""

import dataclasses
import json
import os
import shutil
from typing import Any

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

from bot.errors import InvalidOption
from bot.ports import TaskAdapter
from inference.engine.base import TaskDone, build_engine
from inference.vision import row_adapters
from inference.vision.query_encoder import QueryEncoder
from tests.inference.support import make_model
from tests.inference.tiny import save_blip
from tests.inference.vision.adapter_files import find_adapter, load_with_peft, save_adapter
from tests.inference.vision_reference import TASKS, answer, inputs_of, make_request, run_task

STARTER = "models/starter-vision"
COLOURS = ("red", "blue", "green")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def in_data_dir(data_dir, monkeypatch):
    monkeypatch.setenv("EASEL_DATA_DIR", str(data_dir))


@pytest.fixture(scope="module")
def models(data_dir, tmp_path_factory):
    """The folder of each model, and two adapters of it; the second has another rank and fewer layers."""
    folder = tmp_path_factory.mktemp("models")
    folders = {name: str(save_sighted_blip(folder / name, name)) for name in ("opt", "t5")} | {"starter": STARTER}
    some = {"target_modules": r"qformer.*cross.*query|language_model.*(v_proj|\.v)"}
    made = {}
    for name, path in folders.items():
        size = {"std": 0.1 if path == STARTER else 0.2}
        one = save_adapter(data_dir, path, f"{name}-one", seed=1, **size)
        two = save_adapter(data_dir, path, f"{name}-two", rank=3, seed=2, use_rslora=True, **size, **some)
        made[name] = (path, one, two)
    return made


def save_sighted_blip(folder, language):
    """A tiny BLIP-2 whose vision encoder does not vanish in float16, as Transformers' own first weights do."""
    save_blip(folder, language)
    blip = Blip2ForConditionalGeneration.from_pretrained(folder)
    torch.manual_seed(1)
    for weight in blip.vision_model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    blip.save_pretrained(folder)
    return folder


def load_engine(folder, dtype="float32", **settings):
    engine = build_engine(make_model("vision", tasks=TASKS, repo=folder, dtype=dtype, **settings))
    engine.load_model("cpu")
    return engine


@pytest.fixture(scope="module", params=["opt", "t5", "starter"])
def engine(request, models):
    folder, *adapters = models[request.param]
    engine = load_engine(folder)
    engine.adapters = (*adapters, None)
    yield engine
    engine.unload_model()


def ask(adapter, question="what is it ?", **options):
    return dataclasses.replace(make_request(question, **options), adapter=adapter)


def run_together(engine, tasks):
    """The results of tasks that run at the same time, by their ids."""
    for task in tasks:
        engine.add_task(task)
    results: dict[str, Any] = {}
    while len(results) < len(tasks):
        results |= {one.task_id: one.result for one in engine.step() if isinstance(one, TaskDone)}
    return results


def record_logits(engine, monkeypatch):
    """Which logits each pass of the batch gives, by task."""
    recorded: dict[str, Any] = {}
    append = type(engine._batch)._append_tokens

    def recording(batch, sequences, logits):
        for row, sequence in enumerate(sequences):
            recorded.setdefault(sequence.task_id, []).append(logits[row].float().clone())
        append(batch, sequences, logits)

    monkeypatch.setattr(type(engine._batch), "_append_tokens", recording)
    return recorded


def mixed_tasks(engine, **options):
    """Requests with each adapter and with none, of the same image and of different ones."""
    chosen = [(adapter, colour) for colour in ("red", "navy") for adapter in engine.adapters]
    return [ask(adapter, id=f"job-{n}", colour=colour, **options) for n, (adapter, colour) in enumerate(chosen)]


def distance(first, second):
    return max(float((one - other).abs().max()) for one, other in zip(first, second, strict=True))


def test_two_adapters_and_none_in_one_batch_equal_each_alone(engine, monkeypatch):
    tasks = mixed_tasks(engine)
    recorded = record_logits(engine, monkeypatch)
    together = {key: result.text for key, result in run_together(engine, tasks).items()}
    in_batch = {key: torch.stack(value) for key, value in recorded.items()}
    recorded.clear()
    engine._image_encoder.cache.clear()
    alone = {task.id: answer(engine, task) for task in tasks}
    differences = {key: float((in_batch[key] - torch.stack(recorded[key])).abs().max()) for key in in_batch}

    assert together == alone
    assert max(differences.values()) < 1e-4
    first = {task.adapter: in_batch[task.id] for task in tasks[:3]}
    one, two, none = (first[adapter][0] for adapter in engine.adapters)
    assert min(distance([one], [two]), distance([one], [none]), distance([two], [none])) > 1e-2


def test_an_adapter_gives_the_logits_of_peft(engine, models, data_dir, monkeypatch):
    recorded = record_logits(engine, monkeypatch)
    for adapter in engine.adapters[:2]:
        recorded.clear()
        task = ask(adapter)
        run_task(engine, task)
        model = load_with_peft(data_dir, engine._model.repo, adapter.name)
        inputs = inputs_of(engine, task)
        if model.base_model.model.language_model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = torch.tensor([[0]])
        with torch.no_grad():
            expected = model(**inputs).logits[0, -1]

        assert distance([recorded["job"][0]], [expected]) < 1e-4


def test_without_an_adapter_a_loaded_model_computes_what_the_plain_one_does(engine, monkeypatch):
    recorded = record_logits(engine, monkeypatch)
    plain = load_engine(engine._model.repo)
    expected = record_logits(plain, monkeypatch)
    answer(plain, ask(None, id="plain"))
    assert not plain._adapters._hooks
    for adapter in engine.adapters[:2]:
        engine.add_task(ask(adapter, id=adapter.name))
        engine.cancel_task(adapter.name)
    assert engine._adapters._hooks
    engine._image_encoder.cache.clear()
    answer(engine, ask(None, id="off"))
    plain.unload_model()

    assert all(torch.equal(*pair) for pair in zip(expected["plain"], (recorded | expected)["off"], strict=True))


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"temperature": 1.3, "seed": 5}], ids=str)
def test_searches_and_sampling_share_passes_with_other_adapters(engine, options):
    tasks = [*mixed_tasks(engine), *(ask(one, id=f"more-{n}", **options) for n, one in enumerate(engine.adapters))]
    together = {key: result.text for key, result in run_together(engine, tasks).items()}
    alone = {task.id: answer(engine, task) for task in tasks}

    assert together == alone


def test_an_answer_says_which_adapter_gave_it(engine):
    adapter, plain = engine.adapters[0], engine.capabilities["revision"]
    results = run_together(engine, [ask(adapter, id="with"), ask(None, id="without")])

    assert results["with"].revision == f"{plain}+{adapter.name}@{adapter.sha256[:8]}"
    assert results["without"].revision == plain


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["opt", "t5", "starter"])
def test_half_precision_stays_close(name, dtype, models, monkeypatch):
    folder, *adapters = models[name]
    engine = load_engine(folder, dtype)
    engine.adapters = (*adapters, None)
    recorded = record_logits(engine, monkeypatch)
    tasks = mixed_tasks(engine)
    run_together(engine, tasks)
    in_batch = {key: value[0] for key, value in recorded.items()}
    recorded.clear()
    engine._image_encoder.cache.clear()
    for task in tasks:
        answer(engine, task)
    scale = max(float(value.abs().max()) for value in in_batch.values())
    difference = max(distance([in_batch[key]], [recorded[key][0]]) for key in in_batch)
    engine.unload_model()

    assert difference < 0.05 * scale


def test_an_image_is_encoded_once_for_all_adapters(models, monkeypatch):
    folder, *adapters = models["opt"]
    engine = load_engine(folder)
    sizes = []
    encode = QueryEncoder._encode

    def encode_and_count(own, pixels):
        sizes.append(len(pixels))
        return encode(own, pixels)

    monkeypatch.setattr(QueryEncoder, "_encode", encode_and_count)
    first = {one: answer(engine, ask(one)) for one in (*adapters, None)}
    again = run_together(engine, [ask(one, id=str(n)) for n, one in enumerate((*adapters, None))])
    engine.unload_model()

    assert sizes == [1]
    assert [again[str(n)].text for n in range(3)] == list(first.values())


# ------------------------------------------------------------ files


def change_config(data_dir, adapter, **changes):
    path = data_dir / "adapters" / adapter.name / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def copy_adapter(data_dir, adapter, name):
    shutil.copytree(data_dir / "adapters" / adapter.name, data_dir / "adapters" / name, dirs_exist_ok=True)
    return find_adapter(data_dir, name)


def refuse(engine, adapter):
    """The problem for which the request is refused, while another one is running."""
    engine.add_task(ask(None, id="other"))
    engine.step()
    with pytest.raises(InvalidOption) as refused:
        engine.add_task(ask(adapter))
    done: list[Any] = []
    while not (done and isinstance(done[-1], TaskDone)):
        done += engine.step()
    assert done[-1].task_id == "other"
    assert refused.value.option == "adapter"
    return refused.value.problem


@pytest.mark.parametrize("engine", ["opt"], indirect=True)
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"r": 10**9}, "adapter_damaged"),
        ({"r": None}, "adapter_damaged"),
        ({"lora_alpha": float("nan")}, "adapter_damaged"),
        ({"target_modules": 3}, "adapter_damaged"),
        ({"use_dora": True}, "adapter_damaged"),
        ({"modules_to_save": ["lm_head"]}, "adapter_damaged"),
        ({"rank_pattern": {"q_proj": 2}}, "adapter_damaged"),
        ({"peft_type": "IA3"}, "adapter_damaged"),
        ({"padding": "x" * 9_000_000}, "adapter_damaged"),
        ({"lora_alpha": 9e5}, "adapter_unfit"),
        ({"lora_alpha": 1e30}, "adapter_damaged"),
        ({"r": True}, "adapter_damaged"),
        ({"r": 2.5}, "adapter_damaged"),
        ({"auto_mapping": {"base_model_class": "os.system", "parent_library": "os"}}, ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_configuration_is_only_data(engine, data_dir, changes, problem):
    adapter = copy_adapter(data_dir, engine.adapters[0], "changed")
    change_config(data_dir, adapter, **changes)
    if problem:
        assert refuse(engine, adapter) == problem
    else:
        assert answer(engine, ask(adapter)) == answer(engine, ask(engine.adapters[0]))


@pytest.mark.parametrize("engine", ["opt"], indirect=True)
def test_a_missing_damaged_or_replaced_file_is_refused_for_its_request_alone(engine, data_dir):
    adapter = copy_adapter(data_dir, engine.adapters[0], "gone")
    weights = data_dir / "adapters" / "gone" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    problems = {}
    problems["changed"] = refuse(engine, dataclasses.replace(adapter, sha256="0" * 64))
    problems["revision"] = refuse(engine, dataclasses.replace(adapter, revision="another"))
    problems["name"] = refuse(engine, dataclasses.replace(adapter, name="../gone"))
    weights.write_bytes(whole[:-7])
    problems["short"] = refuse(engine, adapter)
    weights.unlink()
    problems["missing"] = refuse(engine, adapter)

    assert problems == {
        "changed": "adapter_changed",
        "revision": "adapter_revision",
        "name": "adapter_missing",
        "short": "adapter_damaged",
        "missing": "adapter_missing",
    }


@pytest.mark.parametrize("engine", ["opt"], indirect=True)
def test_an_adapter_that_does_not_fit_is_refused(engine, models, data_dir, tmp_path):
    frozen = save_adapter(data_dir, engine._model.repo, "frozen", target_modules=["fc1"])

    assert refuse(engine, models["t5"][1]) == "adapter_unfit"
    assert refuse(engine, frozen) == "adapter_unfit"


@pytest.mark.parametrize("engine", ["opt"], indirect=True)
def test_a_file_that_changes_while_it_is_loaded_is_noticed(engine, data_dir):
    one, two = engine.adapters[:2]
    adapter = copy_adapter(data_dir, one, "trained-again")
    before = answer(engine, ask(adapter))
    changed = copy_adapter(data_dir, two, "trained-again")
    os.utime(data_dir / "adapters" / "trained-again" / "adapter_model.safetensors", ns=(1, 1))

    assert refuse(engine, adapter) == "adapter_changed"
    assert before == answer(engine, ask(one))
    assert answer(engine, ask(changed)) == answer(engine, ask(two))


@pytest.mark.parametrize("engine", ["opt"], indirect=True)
def test_only_a_few_adapters_stay_loaded_and_those_in_use_do(engine, data_dir, monkeypatch):
    monkeypatch.setattr(row_adapters, "MAX_LOADED", 2)
    adapters = [save_adapter(data_dir, engine._model.repo, f"many-{n}", seed=n) for n in range(4)]
    together = run_together(engine, [ask(one, id=one.name) for one in adapters])
    in_use = len(engine._adapters)
    alone = {one.name: answer(engine, ask(one)) for one in adapters}

    assert {name: result.text for name, result in together.items()} == alone
    assert in_use >= 4
    assert len(engine._adapters) == 2
    assert 0 < engine._adapters.nbytes < 2**20


@pytest.mark.parametrize("engine", ["opt"], indirect=True)
def test_less_memory_unloads_the_adapters_that_no_request_uses(engine, monkeypatch):
    monkeypatch.setattr(engine, "_max_sequences", 16)
    monkeypatch.setattr(engine, "_max_new_per_step", 4)
    for n, adapter in enumerate(engine.adapters[:2]):
        engine.add_task(ask(adapter, id=f"job-{n}"))
    engine.cancel_task("job-0")
    engine.reduce_memory()

    [left] = engine._adapters._loaded
    assert left.startswith(engine.adapters[1].name)
    engine.cancel_task("job-1")


def test_the_key_of_an_adapter_is_its_content():
    assert TaskAdapter("a", "0" * 64) != TaskAdapter("a", "1" * 64)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"num_beams": 2, "temperature": 1.0}], ids=str)
def test_an_adapter_that_overflows_harms_no_other_request(models, data_dir, options):
    folder, one, _ = models["opt"]
    wild = save_adapter(data_dir, folder, "wild", std=3e3)
    engine = load_engine(folder, "float16")
    tasks = [ask(adapter, id=f"job-{n}", colour="red") for n, adapter in enumerate((one, None))]
    alone = {task.id: answer(engine, task) for task in tasks}
    together = run_together(engine, [ask(wild, id="wild", **options), *tasks])
    engine.unload_model()

    assert {task.id: together[task.id].text for task in tasks} == alone
