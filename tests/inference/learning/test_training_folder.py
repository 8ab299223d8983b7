"""Every fault of a training folder is one sentence that names its line."""

import json

import pytest
from PIL import Image

from bot.error_texts import explain
from bot.errors import TrainingRefused
from inference.learning import training_folder
from inference.learning.training_folder import open_image, read_examples
from tests.inference.learning.trainings import make_session, write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "folder", 10)


def read(folder, *, corrections=None, **options):
    session = make_session(folder.parent, folder=str(folder), corrections=corrections or {})
    return read_examples(session, **options)


def refused(folder):
    with pytest.raises(TrainingRefused) as caught:
        read(folder)
    return explain(caught.value)


def change_line(folder, number, line):
    file = folder / "metadata.jsonl"
    lines = file.read_bytes().splitlines()
    lines[number - 1] = line if isinstance(line, bytes) else json.dumps(line).encode()
    file.write_bytes(b"\n".join(lines) + b"\n")


def test_a_folder_is_read_in_the_order_of_its_lines(folder):
    change_line(folder, 3, {"file_name": "2.png", "caption": "a  fox\non red"})
    change_line(folder, 4, {"file_name": "3.png", "text": "a cat"})

    examples = read(folder)

    assert [example.line for example in examples] == list(range(1, 11))
    assert [(one.question, one.answer) for one in examples[2:4]] == [("", "a fox on red"), ("", "a cat")]
    assert len({example.digest for example in examples}) == 10


def test_a_byte_order_mark_and_blank_lines_are_no_fault(folder):
    file = folder / "metadata.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n\r\n"))

    assert len(read(folder)) == 10


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"{", "Line 3 of metadata.jsonl is not a JSON object"),
        (b"[1]", "Line 3 of metadata.jsonl is not a JSON object"),
        (b"[" * 100_000, "Line 3 of metadata.jsonl is not a JSON object"),
        (b'{"file_name": "2.png", "caption": "\xff"}', "Line 3 of metadata.jsonl is not UTF-8"),
        ({"caption": "a fox"}, "Line 3 of metadata.jsonl has no file_name"),
        ({"file_name": "2.png"}, "Line 3 of metadata.jsonl has no answer"),
        ({"file_name": "2.png", "question": "what is this ?"}, "Line 3 of metadata.jsonl has no answer"),
        ({"file_name": "2.png", "question": "what is this ?", "answer": " "}, "has no answer"),
        ({"file_name": "2.png", "answer": "a fox"}, "has an answer without a question"),
        ({"file_name": "2.png", "caption": 7}, "caption in line 3 of metadata.jsonl is not a text"),
        ({"file_name": "none.png", "caption": "a fox"}, "there is no picture none.png"),
        ({"file_name": "a\0b.png", "caption": "a fox"}, "there is no picture"),
        ({"file_name": "x" * 5000, "caption": "a fox"}, "there is no picture"),
        ({"file_name": ".", "caption": "a fox"}, "there is no picture"),
        ({"file_name": "../outside.png", "caption": "a fox"}, "outside the folder"),
        ({"file_name": "/etc/passwd", "caption": "a fox"}, "outside the folder"),
        ({"file_name": "link.png", "caption": "a fox"}, "outside the folder"),
        ({"file_name": "broken.png", "caption": "a fox"}, "cannot be read as a picture"),
        ({"file_name": "empty.png", "caption": "a fox"}, "cannot be read as a picture"),
        (
            {"file_name": "0.png", "question": "what is this ?", "answer": "A fox"},
            "Line 3 of metadata.jsonl repeats line 1",
        ),
        ({"file_name": "0.png", "question": "what is this ?", "answer": "a cat"}, "contradicts line 1"),
    ],
)
def test_a_fault_is_a_sentence_that_names_its_line(folder, line, sentence):
    Image.new("RGB", (8, 8)).save(folder.parent / "outside.png")
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:60])
    (folder / "empty.png").write_bytes(b"")
    change_line(folder, 3, line)

    assert sentence in refused(folder)


def test_people_who_correct_the_same_answer_stop_no_training(tmp_path):
    folder = write_folder(tmp_path / "folder", 12)
    change_line(folder, 8, {"file_name": "0.png", "question": "What is this ?", "answer": "a lynx"})
    for number, answer in ((9, "a cat"), (10, "a lynx")):
        change_line(folder, number, {"file_name": "2.png", "question": "is it red ?", "answer": answer})
        (folder / f"c{number}.png").write_bytes((folder / "2.png").read_bytes())
    change_line(folder, 10, {"file_name": "c10.png", "question": "is it red ?", "answer": "a lynx"})
    (folder / "c8.png").write_bytes((folder / "0.png").read_bytes())
    change_line(folder, 8, {"file_name": "c8.png", "question": "What is this ?", "answer": "a lynx"})

    examples = read(folder, corrections={"c8.png": "one", "2.png": "two", "c10.png": "three"})

    assert [one.line for one in examples] == [1, 2, 3, 4, 5, 6, 7, 10, 11, 12]


def test_three_examples_are_too_few(tmp_path):
    said = refused(write_folder(tmp_path / "folder", 3))

    assert "has examples of 3 different pictures, but a training needs at least 8" in said


def test_many_questions_about_few_pictures_are_too_few(folder):
    for number in range(4, 11):
        change_line(folder, number, {"file_name": "3.png", "question": f"question {number} ?", "answer": "a fox"})

    assert "has examples of 4 different pictures" in refused(folder)


def test_a_folder_without_metadata_shows_what_a_line_looks_like(folder):
    (folder / "metadata.jsonl").unlink()

    assert '{"file_name": "1.jpg", "question": "what is this?", "answer": "a lynx"}' in refused(folder)
    assert [example.answer for example in read(folder, require_texts=False)] == [""] * 10


def test_a_missing_folder_is_a_sentence(tmp_path):
    assert "is not a folder that Easel can read" in refused(tmp_path / "none")


def test_a_huge_image_is_refused_before_it_is_decoded(folder, monkeypatch):
    monkeypatch.setattr(training_folder, "MAX_MEGAPIXELS", 0.0001)
    monkeypatch.setattr(training_folder, "open_image", None)

    assert "is larger than 0.0001 MP" in refused(folder)


def test_a_huge_file_is_refused(folder, monkeypatch):
    monkeypatch.setattr(training_folder, "MAX_IMAGE_BYTES", 16)

    assert "is larger than 1 MiB" in refused(folder)


def test_an_image_is_upright_and_on_white(tmp_path):
    Image.new("RGBA", (4, 2), (255, 0, 0, 0)).save(tmp_path / "one.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save(tmp_path / "two.jpg", exif=exif)

    assert open_image(tmp_path / "one.png").getpixel((0, 0)) == (255, 255, 255)
    assert open_image(tmp_path / "two.jpg").size == (2, 4)


def test_a_fault_of_a_folder_without_metadata_names_the_file_and_no_line(folder, tmp_path, monkeypatch):
    (folder / "metadata.jsonl").unlink()
    (tmp_path / "outside.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    assert len(read(folder, require_texts=False)) == 10
    (folder / "0 (copy).png").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(TrainingRefused) as repeated:
        read(folder, require_texts=False)
    (folder / "0 (copy).png").unlink()
    (folder / "broken.png").write_bytes(b"none")
    with pytest.raises(TrainingRefused) as broken:
        read(folder, require_texts=False)
    monkeypatch.setattr(training_folder, "MAX_IMAGE_BYTES", 16)
    with pytest.raises(TrainingRefused) as large:
        read(folder, require_texts=False)

    assert explain(repeated.value).startswith("0.png is the same picture as 0 (copy).png")
    assert explain(broken.value).startswith("broken.png cannot be read as a picture")
    assert explain(large.value).startswith("0.png is larger than 1 MiB")


@pytest.mark.parametrize("fault", ["broken", "large", "gone"])
def test_corrections_whose_image_cannot_be_learned_from_are_left_out(folder, monkeypatch, fault):
    match fault:
        case "broken":
            (folder / "2.png").write_bytes(b"no image")
        case "large":
            (folder / "2.png").write_bytes(b"\0" * 5000)
            monkeypatch.setattr(training_folder, "MAX_IMAGE_BYTES", 4000)
        case "gone":
            (folder / "2.png").unlink()

    assert len(read(folder, corrections={"2.png": "one"})) == 9
    with pytest.raises(TrainingRefused):
        read(folder)
