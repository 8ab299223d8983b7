"""Wildcards are drawn from files in the data directory, determined by the seed."""

import tracemalloc

import pytest

from bot.errors import InvalidOption
from bot.prompts import wildcards
from bot.prompts.wildcards import LISTING_VALID_S, MAX_DRAWN, WildcardFolder, expand_wildcards, has_wildcards

ANIMALS = ["fox", "cat", "owl", "hare", "newt"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "look").mkdir()
    (tmp_path / "animal.txt").write_text("# animals\n" + "\n".join(ANIMALS) + "\n\n", encoding="utf-8")
    (tmp_path / "look" / "Hair_Color.txt").write_text("\ufeffred\n", encoding="utf-8")
    (tmp_path / "scene.txt").write_text("a __animal__ {by day|by night}\n", encoding="utf-8")
    (tmp_path / "loop.txt").write_text("__loop__\n", encoding="utf-8")
    (tmp_path / "many.txt").write_text("__many__ __many__ __animal__\n", encoding="utf-8")
    (tmp_path / "empty.txt").write_text("# nothing\n", encoding="utf-8")
    return WildcardFolder(tmp_path)


def test_a_wildcard_is_one_line_of_its_file(folder):
    made = {expand_wildcards("a __animal__ here", seed, folder.read_lines) for seed in range(100)}

    assert made == {f"a {animal} here" for animal in ANIMALS}


def test_the_seed_says_which_line(folder):
    prompt = "__animal__ and __animal__ and __animal__"

    assert expand_wildcards(prompt, 7, folder.read_lines) == expand_wildcards(prompt, 7, folder.read_lines)
    assert expand_wildcards("a __animal__", 1, lambda _: ANIMALS) == "a newt"  # on every machine, in every version


def test_each_wildcard_of_a_prompt_is_drawn_for_itself(folder):
    made = [expand_wildcards("__animal__ __animal__", seed, folder.read_lines).split() for seed in range(50)]

    assert any(first != second for first, second in made)


def test_files_may_be_in_subfolders_and_names_are_case_insensitive(folder):
    assert expand_wildcards("__LOOK/hair_color__ hair", 1, folder.read_lines) == "red hair"
    assert "look/hair_color" in folder.list_names()


def test_a_line_may_hold_wildcards_and_choices(folder):
    made = {expand_wildcards("__scene__", seed, folder.read_lines) for seed in range(200)}

    assert made == {f"a {animal} {when}" for animal in ANIMALS for when in ("by day", "by night")}


@pytest.mark.parametrize("name", ["loop", "many"])
def test_wildcards_that_lead_on_for_ever_are_refused(folder, name):
    with pytest.raises(InvalidOption) as refused:
        expand_wildcards(f"__{name}__", 1, folder.read_lines)

    assert refused.value.problem == "wildcards"


def test_an_unknown_wildcard_is_refused_with_those_like_it(folder):
    with pytest.raises(InvalidOption) as refused:
        expand_wildcards("a __animals__", 1, folder.read_lines)

    assert (refused.value.problem, refused.value.value, refused.value.allowed) == ("wildcard", "animals", "__animal__")


def test_without_any_file_the_refusal_says_where_they_go(tmp_path):
    for folder in (WildcardFolder(), WildcardFolder(tmp_path)):
        with pytest.raises(InvalidOption) as refused:
            expand_wildcards("a __fox__", 1, folder.read_lines)

        assert refused.value.problem == "no_wildcards"


def test_an_empty_wildcard_is_refused(folder):
    with pytest.raises(InvalidOption) as refused:
        expand_wildcards("__empty__", 1, folder.read_lines)

    assert refused.value.problem == "wildcard_empty"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "look/../../secret"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    inside = tmp_path / "wildcards"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (inside / "fox.txt").write_text("fox")

    with pytest.raises(InvalidOption):
        WildcardFolder(inside).read_lines(name)
    assert expand_wildcards(f"a __{name}__", 1, WildcardFolder(inside).read_lines) == f"a __{name}__"


def test_a_changed_file_is_read_again(folder):
    expand_wildcards("__animal__", 1, folder.read_lines)
    path = folder.folder / "animal.txt"
    path.write_text("whale\n")

    assert expand_wildcards("__animal__", 1, folder.read_lines) == "whale"


@pytest.mark.parametrize("prompt", ["a fox", "__ fox __", "snake_case", "a___b", "____"])
def test_other_underlines_are_words(prompt):
    assert not has_wildcards(prompt)


def test_the_folder_is_listed_once_a_second_at_most_and_new_files_are_found_then(tmp_path):
    now = 100.0
    folder = WildcardFolder(tmp_path, clock=lambda: now)
    (tmp_path / "fox.txt").write_text("red fox\n")
    assert folder.list_names() == ["fox"]

    (tmp_path / "owl.txt").write_text("owl\n")
    now += LISTING_VALID_S / 2
    assert folder.list_names() == ["fox"]
    now += LISTING_VALID_S

    assert folder.list_names() == ["fox", "owl"]


def test_a_folder_that_is_listed_slowly_is_listed_less_often(tmp_path):
    """Of 10,000 files it takes a second: each draw, and each name that is described, would list them again."""
    now = 0.0
    folder = WildcardFolder(tmp_path)

    def clock():
        nonlocal now
        now += 2.0  # so long does a listing take
        return now

    folder.clock = clock
    (tmp_path / "fox.txt").write_text("red fox\n")
    assert folder.list_names() == ["fox"]
    (tmp_path / "owl.txt").write_text("owl\n")

    assert [folder.list_names() for _ in range(5)] == [["fox"]] * 5
    assert folder.describe("fox").lines == 1
    now += 20
    assert folder.list_names() == ["fox", "owl"]


def test_a_request_reads_each_file_once_and_counts_its_draws(folder):
    reader = folder.open()
    first = reader.read_lines("animal")
    (folder.folder / "animal.txt").write_text("whale\n")

    assert reader.read_lines("Animal") is first
    assert reader.draws == 2
    assert list(folder.open().read_lines("animal")) == ["whale"]


def test_drawn_lines_are_bounded_in_all(tmp_path):
    (tmp_path / "long.txt").write_text("x" * (MAX_DRAWN // 10) + "\n")

    with pytest.raises(InvalidOption) as refused:
        expand_wildcards("__long__ " * 20, 1, WildcardFolder(tmp_path).read_lines)

    assert (refused.value.option, refused.value.problem) == ("prompt", "long")


def test_files_of_many_short_lines_take_little_more_memory_than_their_bytes(tmp_path):
    (tmp_path / "short.txt").write_text("ab\n" * 50_000, encoding="utf-8")
    tracemalloc.start()
    try:
        lines = WildcardFolder(tmp_path).read_lines("short")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (len(lines), lines[0], lines[49_999]) == (50_000, "ab", "ab")
    assert kept < 4 * 150_000


def test_only_so_much_of_all_files_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(wildcards, "MAX_CACHED_BYTES", 5000, raising=False)
    for number in range(8):
        (tmp_path / f"w{number}.txt").write_text("x" * 2000, encoding="utf-8")
    folder = WildcardFolder(tmp_path)
    read = [folder.read_lines(f"w{number}")[0] for number in range(8)]

    assert read == ["x" * 2000] * 8
    assert len(folder._cache) == 2
    assert folder.read_lines("w0")[0] == "x" * 2000
