"""`--control` and its like, as they are typed, and which picture each of them is about."""

import os
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.commands import COMMANDS, Imagine
from bot.commands.image_flags import (
    FLAGS,
    MASK,
    ImageFlag,
    assign_images,
    flags_of,
    parse_image_flag,
    pop_image_flags,
    split_numbers,
)
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef

CONTROL, REFERENCE, STYLE_OF, SUBJECT_OF = FLAGS
ROLES = Imagine.roles
ONE, TWO, THREE = (ImageRef(digit * 64) for digit in "123")


def popped(line):
    return pop_image_flags(ROLES, line, more=(MASK,))


def requested(line):
    return Imagine.from_options({"prompt": "a"}, [flag.describe(ONE) for flag in popped(line)[1]])


def typed_file(flag, value, *files):
    read = parse_image_flag(flag, value, lambda rest: split_numbers(rest, set(files).__contains__))
    return read.kind, read.source, read.weight, read.start, read.end, read.ready


@pytest.mark.parametrize(
    ("line", "rest", "flag"),
    [
        ("a castle --control canny", "a castle", {"kind": "canny"}),
        ("--control CANNY:0.8 a castle", "a castle", {"kind": "canny", "weight": 0.8}),
        ("a --control=depth:0.8:0:0.5 castle", "a castle", {"kind": "depth", "weight": 0.8, "end": 0.5}),
        ("a \u2014control pose:ready", "a", {"kind": "pose", "ready": True}),
        ("a --control pose:0.5:ready", "a", {"kind": "pose", "weight": 0.5, "ready": True}),
        ("a --control canny::0.5 --steps 4", "a --steps 4", {"kind": "canny", "start": 0.5}),
        ("a --control canny:k3x7a", "a", {"kind": "canny", "source": "k3x7a"}),
        ("a --control canny:k3x7a/2:0.7", "a", {"kind": "canny", "source": "k3x7a/2", "weight": 0.7}),
        ("a --control --steps 4", "a --steps 4", {"kind": ""}),
    ],
)
def test_a_typed_control_says_its_kind_and_how_much_it_counts(line, rest, flag):
    assert popped(line) == (rest, [ImageFlag(name="control", role="control", **flag)])


@pytest.mark.parametrize(
    ("line", "rest", "flag"),
    [
        ("a fox --style-of", "a fox", ImageFlag(name="style-of", role="reference", kind="style")),
        ("--style_of K3X7 a fox", "a fox", ImageFlag(name="style-of", role="reference", kind="style", source="k3x7")),
        ("--subject-of k3x7/2:0.6 x", "x", ImageFlag(name="subject-of", role="reference", kind="subject",
                                                     source="k3x7/2", weight=0.6)),
        ("--reference 0.6 a fox", "a fox", ImageFlag(name="reference", role="reference", weight=0.6)),
        ("--reference a fox", "a fox", ImageFlag(name="reference", role="reference")),
        ("--mask a fox", "a fox", ImageFlag(name="mask", role="mask")),
    ],
)  # fmt: skip
def test_other_flags_take_a_job_or_a_weight_and_leave_words_to_the_prompt(line, rest, flag):
    assert popped(line) == (rest, [flag])


def test_a_line_without_such_flags_stays_as_it_is():
    assert popped("a  fox --steps 4 --seed 5") == ("a  fox --steps 4 --seed 5", [])
    assert popped('a --negative "no --control canny"') == ('a --negative "no --control canny"', [])
    assert pop_image_flags(COMMANDS["caption"].roles, "--control canny") == ("--control canny", [])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("a --control", "Say what kind of control the picture is: canny, "),
        ("a --control castle", "kind cannot be \u201ccastle\u201d."),
        ("a --control canny:abc", "weight is \u201cabc\u201d, but must be a number."),
        ("a --control canny:-1", "weight is -1, but must be 0 to 2."),
        ("a --control canny:nan", "weight is nan, but must be 0 to 2."),
        ("a --control canny:1e400", "weight is inf, but must be 0 to 2."),
        ("a --control canny:1:0.8:0.5", "A control that starts at 0.8 must end after that, but its end is 0.5."),
        ("a --control canny:1:0:1:0", "control is \u201ccanny:1:0:1:0\u201d, but must be KIND:WEIGHT:START:END:ready."),
        ("a --control canny --control canny", "canny was given twice; give it once."),
        ("a --style-of 3", "weight is 3, but must be 0 to 2."),
    ],
)
def test_a_bad_value_is_one_sentence(line, sentence):
    with pytest.raises(InvalidOption) as refused:
        requested(line)

    assert explain(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("value", "files", "expected"),
    [
        ("canny:photo.png", (), ("canny", "photo.png", 1, 0, 1, False)),
        ("canny:photo.png:0.8:0:0.5", (), ("canny", "photo.png", 0.8, 0, 0.5, False)),
        ("canny:map.png:ready", (), ("canny", "map.png", 1, 0, 1, True)),
        ("canny:C:\\maps\\photo.png:0.8", (), ("canny", "C:\\maps\\photo.png", 0.8, 0, 1, False)),
        ("depth:a:0.5", ("a:0.5",), ("depth", "a:0.5", 1, 0, 1, False)),
        ("depth:a:0.5:0.8", ("a:0.5",), ("depth", "a:0.5", 0.8, 0, 1, False)),
        ("depth:12:30:45.png", ("12:30:45.png",), ("depth", "12:30:45.png", 1, 0, 1, False)),
        ("depth:-:0.8", ("-",), ("depth", "-", 0.8, 0, 1, False)),
    ],
)
def test_a_files_name_may_have_colons(value, files, expected):
    assert typed_file(CONTROL, value, *files) == expected


def test_a_reference_file_may_have_a_weight():
    assert typed_file(REFERENCE, "photo.png:0.6")[:3] == ("", "photo.png", 0.6)
    assert typed_file(STYLE_OF, "photo.png")[:3] == ("style", "photo.png", 1)
    assert typed_file(SUBJECT_OF, "k3x7/2:0.5")[:3] == ("subject", "k3x7/2", 0.5)


@settings(max_examples=100)
@given(
    st.sampled_from(FLAGS), st.text(alphabet="canydeptho:.0815e-+/\\k ", max_size=20).map(lambda end: f"canny:{end}")
)
def test_any_value_is_read_or_refused(flag, value):
    for split in (lambda rest: split_numbers(rest, os.path.lexists), lambda rest: ("", rest)):
        with suppress(InvalidOption):
            assert 0 <= parse_image_flag(flag, value, split).weight <= 2


# ---------------------------------------------------------------- which picture


def assigned(line, *pictures, found=(), needed=0, allowed=1):
    images = assign_images(popped(line)[1], dict(found), pictures, needed=needed, allowed=allowed)
    return [(image.id[0], image.role, image.kind) for image in images]


def test_the_last_pictures_go_to_the_flags_in_their_order_and_those_before_are_the_input():
    assert assigned("--control depth", ONE) == [("1", "control", "depth")]
    assert assigned("--control depth", ONE, TWO) == [("1", "init", ""), ("2", "control", "depth")]
    assert assigned("--mask", ONE, TWO) == [("1", "init", ""), ("2", "mask", "")]
    assert assigned("--style-of --control pose", ONE, TWO, THREE) == [
        ("1", "init", ""),
        ("2", "reference", "style"),
        ("3", "control", "pose"),
    ]


def test_a_single_picture_serves_all_flags():
    assert assigned("--control depth --control canny", ONE) == [("1", "control", "depth"), ("1", "control", "canny")]


def test_a_flag_with_a_job_takes_no_picture():
    assert assigned("--style-of k3x7", ONE, found={0: TWO}.items()) == [("1", "init", ""), ("2", "reference", "style")]


def test_a_picture_with_a_role_goes_to_the_flag_of_that_role():
    control = ImageRef("3" * 64, "control")

    assert assigned("--style-of --control canny", ONE, control) == [
        ("1", "reference", "style"),
        ("3", "control", "canny"),
    ]
    assert assigned("", ONE, control) == [("1", "init", ""), ("3", "control", "")]


@pytest.mark.parametrize(
    ("line", "pictures", "sentence"),
    [
        ("--control canny", (), "This needs a picture: attach one, or reply to one."),
        ("--control canny --style-of", (), "This needs 2 pictures, but there are 0: attach all of them to one message"),
        ("--control canny --control pose --style-of", (ONE, TWO), "This needs 3 pictures, but there are 2: "),
        ("--mask", (ONE,), "A mask needs its picture: send both as an album"),
    ],
)
def test_too_few_pictures_are_one_sentence(line, pictures, sentence):
    with pytest.raises(InvalidOption) as refused:
        assigned(line, *pictures, needed=int("mask" in line))

    assert explain(refused.value).startswith(sentence)


def test_a_map_is_taken_as_ready_for_its_own_kind_only():
    depth_map = ImageRef("1" * 64, kind="depth", ready=True)
    [image] = assign_images(popped("--control depth:0.5")[1], {}, [depth_map], needed=0, allowed=1)

    assert (image.role, image.kind, image.ready, image.weight) == ("control", "depth", True, 0.5)
    assert assigned("--control", depth_map) == [("1", "control", "depth")]
    assert assigned("--style-of", depth_map) == [("1", "reference", "style")]
    assert not assign_images([], {}, [depth_map], needed=0, allowed=1)[0].ready
    with pytest.raises(InvalidOption) as refused:
        assigned("--control canny", depth_map)
    assert explain(refused.value) == "That picture is a depth map: use it with --control depth."


def test_commands_take_the_flags_of_their_roles():
    assert {flag.name for flag in flags_of(ROLES)} == {"control", "reference", "style-of", "subject-of"}
    assert not flags_of(COMMANDS["caption"].roles)
