"""BLIP-2 in float16, in which Transformers keeps some of its parts in float32: Q-Former, query tokens, parts of T5."""

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

from inference.engine.base import build_engine
from tests.inference.support import make_model
from tests.inference.tiny import save_blip
from tests.inference.vision_reference import TASKS, answer, make_request, reference_answer


@pytest.fixture
def engine(tmp_path):
    torch.set_num_threads(1)
    folder = save_blip(tmp_path / "blip", "t5")
    blip = Blip2ForConditionalGeneration.from_pretrained(folder)
    torch.manual_seed(1)
    for weight in blip.vision_model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)  # Transformers' own, 1e-10, vanish in float16
    blip.save_pretrained(folder)
    engine = build_engine(make_model("t5", tasks=TASKS, repo=str(folder), dtype="float16"))
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


def test_float16_gives_transformers_own_answers_and_is_reported(engine):
    assert {weight.dtype for weight in engine._blip.parameters()} == {torch.float16, torch.float32}
    assert engine.capabilities["dtype"] == "float16"
    for request in (make_request(), make_request("what is it ?", num_beams=2)):
        assert answer(engine, request) == reference_answer(engine, request)
