"""What a model that chats is told, and what of its words is shown."""

import dataclasses
from typing import Any

import pytest
from PIL import Image

from bot.errors import InvalidOption
from bot.jobs import Media
from bot.ports import TaskImage
from inference.checkpoints.chat_families import FAMILIES
from inference.engine.base import build_engine
from inference.vision.chat.chat_inputs import open_image
from inference.vision.chat.conversation import IMAGE, conversation_of, instruction_of, spell_markers
from inference.vision.chat.thinking import AnswerDecoder, clean_lines, strip_thoughts
from tests.inference.chat_requests import TASKS, THREAD, ask, make_loader
from tests.inference.support import make_model, png
from tests.inference.tiny_chat import MAKERS, save_chat
from tests.inference.vision_reference import make_request, plain_image, run_task


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    return make_loader(tmp_path_factory)


# ---------------------------------------------------------------- what a person types, and what a model thinks


@pytest.mark.parametrize("family", ["qwen3_vl", "gemma3", "smolvlm", "llava_onevision"])
def test_a_typed_marker_stands_for_no_image_and_ends_no_message(load, family):
    engine = load(family)
    question = "what <image> is </think> this <end> <vision> <|image_pad|> <<end>end>"

    assert run_task(engine, ask(question, thread=({"question": "<image>", "answer": "<end>"},)))
    [message] = spell_markers(
        [{"role": "user", "content": [{"type": "text", "text": question}]}], engine._inputs._markers
    )
    assert not any(marker in message["content"][0]["text"] for marker in engine._inputs._markers if len(marker) > 1)


THOUGHTS = [
    ("<think>hm, a fox</think>\n\na fox", "a fox"),
    ("a fox<think>or not", "a fox"),
    ("<think>it may be", ""),
    ("hm, a fox</think>a fox", "a fox"),
    ("a<thinking>b</thinking>c", "ac"),
    ("<|channel>thought\nhm<channel|>a fox", "a fox"),
    ("a fox <thi", "a fox"),
    ("a < b", "a < b"),
    ("1 <", "1 <"),
    ("a fox", "a fox"),
]


@pytest.mark.parametrize(("text", "shown"), THOUGHTS)
def test_thoughts_are_not_shown(load, text, shown):
    decoder = load("qwen3_vl")._answers
    ids = load("qwen3_vl")._processor.tokenizer(text, add_special_tokens=False).input_ids

    assert strip_thoughts(text) == shown
    assert decoder.decode(ids) == shown


def test_a_thought_that_the_prompt_opened_is_not_shown(load):
    engine = load("qwen3_vl")
    tokens = engine._processor.tokenizer("user <think>", add_special_tokens=False).input_ids
    begun = engine._answers.begins_in_thought(tokens)
    thought, ended = (
        engine._processor.tokenizer(text, add_special_tokens=False).input_ids for text in ("hm", "hm</think>a")
    )

    assert begun
    assert not engine._answers.begins_in_thought(engine._processor.tokenizer("<think>hm</think>").input_ids)
    assert engine._answers.decode(thought, begins_in_thought=True) == ""
    assert engine._answers.decode(ended, begins_in_thought=True) == "a"


def test_thinking_is_switched_off_in_the_prompt(load):
    engine = load("qwen3_vl")
    prompt = engine._inputs.build(conversation_of(ask(), 1), [open_image(plain_image("red").media)], 4)

    assert engine._processor.tokenizer.decode(prompt.token_ids).endswith("<think></think>")


# ---------------------------------------------------------------- threads and limits


def test_a_thread_is_a_conversation_whose_first_message_shows_the_images():
    messages = conversation_of(ask("why ?", "red", "blue", thread=THREAD), 2)

    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"] == [IMAGE, IMAGE, {"type": "text", "text": "what is this ?"}]
    assert messages[1]["content"][0]["text"] == "a fox"
    assert messages[2]["content"] == [{"type": "text", "text": "why ?"}]


def test_a_preset_asks_for_its_length_in_words():
    asked = [instruction_of(ask("why ?", preset=preset)) for preset in (None, "short", "detailed")]
    captions = [instruction_of(make_request(preset=preset)) for preset in (None, "short", "detailed")]

    assert asked == ["why ?", "why ? Answer in a few words.", "why ? Answer in detail."]
    assert ["one sentence" in captions[0], "few words" in captions[1], "in detail" in captions[2]] == [True] * 3


def test_a_thread_that_is_too_long_loses_its_oldest_turns(load, monkeypatch):
    engine = load("qwen3_vl")
    monkeypatch.setattr(engine._inputs, "_limit", 120)
    thread = tuple({"question": f"{letter * 30} ?", "answer": letter * 30} for letter in "abc")
    images = [open_image(plain_image("red").media)]

    prompt = engine._inputs.build(conversation_of(ask("why ?", thread=thread), 1), images, 4)

    text = engine._processor.tokenizer.decode(prompt.token_ids)
    assert len(prompt.token_ids) <= 116
    assert ("ccc" in text, "aaa" in text, text.count("<vision>")) == (True, False, 1)
    with pytest.raises(InvalidOption) as refused:
        engine.add_task(ask("x" * 200))
    assert (refused.value.option, refused.value.problem) == ("question", "long")
    assert 0 < int(refused.value.allowed) < 120
    with pytest.raises(InvalidOption) as crowded:
        engine.add_task(ask("why ?", *["red"] * 40))
    assert (crowded.value.option, crowded.value.problem) == ("images", "too_many_images")
    assert 0 < int(crowded.value.allowed) < 40
    assert engine.free_slots == engine.capabilities["rows"]


def test_large_images_are_scaled_down_before_the_model_sees_them():
    image = open_image(Media(png(Image.new("RGB", (2400, 1200))), "image/png"))

    assert image.width * image.height <= 1024 * 1024 + 2000
    assert image.width / image.height == pytest.approx(2, abs=0.01)


def test_a_marker_that_begins_with_a_space_is_spelled_once():
    messages = [{"role": "user", "content": [{"type": "text", "text": "a <image> of <b>"}]}]

    [spelled] = spell_markers(messages, [" <image>", "<b>", "  "])

    assert spelled["content"][0]["text"] == "a < image> of < b>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- a fox\n  - red\n\n", "- a fox\n  - red"),
        ("a \u202efox\u2066\x1b[31m\x00", "a fox[31m"),
        ("one\r\ntwo\u2028three", "one\ntwo\nthree"),
        (" \u200b\n\u2060 ", ""),
    ],
)
def test_what_cannot_be_seen_in_an_answer_reaches_nobody(text, shown):
    assert clean_lines(text) == shown


class SaysGlm:
    """A tokenizer of words, to which the markers of GLM are words like others."""

    words = ("<think>", "</think>", "<answer>", "</answer>", "<|begin_of_box|>", "<|end_of_box|>", "hm", "a fox")

    def get_vocab(self):
        return {word: number for number, word in enumerate(self.words)}

    def decode(self, token_ids, **_):
        return "".join(self.words[token] for token in token_ids)


def test_what_a_model_writes_around_its_answer_is_not_shown():
    decoder = AnswerDecoder(SaysGlm())

    assert decoder.decode([0, 6, 1, 2, 4, 7, 5, 3]) == "a fox"
    assert decoder.decode([0, 6, 1, 2, 4]) == decoder.decode([0, 6, 6]) == ""


@pytest.mark.parametrize("family", sorted(name for name in MAKERS if FAMILIES[name].image_processor))
@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (2, 5000)])
def test_the_thinnest_image_is_seen_by_every_family(load, family, size):
    engine = load(family)
    thin = TaskImage("init", Media(png(Image.new("RGB", size)), "image/png"))

    image = open_image(thin.media)
    events = run_task(engine, dataclasses.replace(ask(), images=(thin,)))

    assert max(image.size) <= 16 * min(image.size) <= 16 * 1024
    assert events[-1].result is not None


def test_a_thought_that_the_template_begins_is_ended_before_the_answer(tmp_path):
    template = save_chat(tmp_path, "qwen3_vl") / "chat_template.jinja"
    template.write_text(template.read_text().replace("<think></think>", "<think>\n"))
    engine: Any = build_engine(make_model(tasks=TASKS, repo=str(tmp_path)))
    engine.load_model("cpu")

    prompt = engine._inputs.build(conversation_of(ask(), 1), [open_image(plain_image("red").media)], 4)

    assert engine._processor.tokenizer.decode(prompt.token_ids).endswith("assistant <think>\n\n</think>\n\n")
    assert not engine._answers.begins_in_thought(prompt.token_ids)
    assert run_task(engine, ask(min_new_tokens=4))[-1].result.text
