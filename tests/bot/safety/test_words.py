"""Blocked words are found in every disguise, without false positives."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import StartupError
from bot.safety import BlockedWords, read_words

OWN = BlockedWords(["nude", "god", "ass", "hot dog", "порно", "裸体", "café", "4chan"])
LOOKS = {"n": "nN", "u": "uUυú", "d": "dDԁ", "e": "eE3еéＥ"}


@pytest.mark.parametrize(
    "text",
    [
        "nude", "a NUDE!", "nuuude", "n.u.d.e", "n u d e", "i n u d e", "n_u_d_e", "nu.de", "n*u*d*e", "n\u200bude",
        "nu\u202ede", "nüdé", "ｎｕｄｅ", "nud3", "nuԁе", "(nude)", "non-nude", "hot-dog", "h0t d0g", "a55", "assss",
        "@ss", "ПОРНО", "一张裸体照片", "CAFE", "g o d", "goood", "4chan", "4 c h a n", "a{nude|fox}",
    ],
)  # fmt: skip
def test_a_blocked_word_is_found_in_any_dress(text):
    assert OWN.find_reason(text) == "words"


@pytest.mark.parametrize(
    "text",
    [
        "", "a red fox", "good", "as", "denude", "class assistant", "hot and dog", "goodness", "chan", "it's a pass",
        "3 foxes at 10:30!", "über den Wolken", "a fox (red), 50 mm; f/1.8",
    ],
)  # fmt: skip
def test_other_words_are_let_pass(text):
    assert OWN.find_reason(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "a nude child", "n u d e  k1d", "naked 12 year old", "erotic twelve-year-old", "loli hentai", "teen, topless",
        "s3xy sch00lgirl", "child p0rn", "lolicon", "голая девочка", "a 15yo undressed", "same sex child sexy",
    ],
)  # fmt: skip
def test_sexual_content_about_minors_is_always_refused(text):
    assert BlockedWords().find_reason(text) == "minors"


@pytest.mark.parametrize(
    "text",
    [
        "a child on a beach", "a nude woman by Rubens", "what sex is the child?", "same-sex parents with a baby",
        "a 30 year old man, naked", "a kind, sexy vampire", "a 112 year old naked tree",
    ],
)  # fmt: skip
def test_what_only_sounds_like_it_is_let_pass(text):
    assert BlockedWords().find_reason(text) == ""


dressed = st.tuples(*(st.sampled_from(LOOKS[letter]) for letter in "nude"))
between = st.sampled_from(["", ".", " ", "_", "-", "\u200b", "\u2066", " * "])


@given(letters=dressed, gap=between, repeats=st.lists(st.integers(1, 5), min_size=4, max_size=4))
def test_lookalikes_gaps_and_repeats_are_detected(letters, gap, repeats):
    drawn_out = [letter * count for letter, count in zip(letters, repeats, strict=True)]

    assert OWN.find_reason(f"a {gap.join(drawn_out)} fox") == "words"


@given(st.text(alphabet="abcfhijklmopqrstvwxyz .,!-", max_size=200))
def test_text_without_its_letters_never_has_the_word(text):
    assert BlockedWords(["nude"]).find_reason(text) != "words"


@given(st.text(max_size=2000))
def test_any_text_is_read_and_a_word_beside_it_is_found(text):
    OWN.find_reason(text)
    kept = "".join(char for char in text if unicodedata.category(char)[0] not in "LMNC")

    assert OWN.find_reason(f"{kept} nude") == "words"


@pytest.mark.parametrize(
    "pattern", ["a b ", "1 ", "nude1!", "n u d ", "é", "a", "x!", "\u0301", "the f0x ", "a+", "._-"]
)
def test_the_longest_prompt_is_checked_quickly(pattern):
    text = (pattern * 2000)[:2000]

    def once():
        began = time.perf_counter()
        OWN.find_reason(text)
        return time.perf_counter() - began

    assert min(once() for _ in range(5)) < 0.02


def test_words_come_from_the_config_and_its_file(tmp_path):
    (tmp_path / "words.txt").write_text("# ours\nbroccoli  # green\n\nhot dog\n", encoding="utf-8")
    words = read_words(["spinach"], "words.txt", tmp_path)

    found = [words.find_reason(text) for text in ("spinach", "brocc0li", "a hot dog", "ours", "green")]

    assert found == ["words", "words", "words", "", ""]


def test_a_file_of_words_that_is_not_there_stops_the_start_with_a_sentence(tmp_path):
    with pytest.raises(StartupError, match=r"words.txt cannot be read: .*blocked_words_file"):
        read_words([], "words.txt", tmp_path)
