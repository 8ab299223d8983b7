"""What is said beside pictures."""

from dataclasses import replace

from bot.chat import picture_texts
from bot.jobs import Result, StoredImage
from tests.fakes import make_job

MADE = tuple(StoredImage(id=str(n), media_type="image/png", width=64, height=48, alt=f"a fox {n}") for n in range(3))
RESULT = Result(media=MADE, seed=7)


def test_the_original_is_named():
    made = tuple(StoredImage(id=str(n), media_type="image/png", width=1024, height=1024) for n in range(2))
    job = make_job(options={"prompt": "a red circle " * 20}, result=Result(media=made))
    title = picture_texts.format_original(job)

    assert title.startswith("Original of \u201ca red circle a red")
    assert title.endswith("\u2026\u201d, 1024x1024, PNG")
    assert picture_texts.format_original(make_job(options={}, result=Result(media=made))) == "Original, 1024x1024, PNG"


def test_one_of_several_pictures_is_named_with_the_seed_that_makes_it_again():
    job = make_job(options={"prompt": "a fox"}, result=RESULT)

    assert picture_texts.format_picture(job, 2) == "a fox\nPicture 2 of 3, 64x48, seed 8"
    assert picture_texts.format_original(job, picture=2).endswith(", 64x48, PNG")


def test_alt_texts_are_numbered_in_one_text_unless_the_prompt_says_all():
    job = make_job(options={"prompt": "a fox"}, result=RESULT)
    plain = make_job(options={"prompt": "a fox 0"}, result=Result(media=MADE[:1] * 2))

    assert picture_texts.format_alts(job) == "1. a fox 0\n2. a fox 1\n3. a fox 2"
    assert picture_texts.format_alts(plain) == ""
    assert picture_texts.format_alts(make_job(result=Result(media=MADE[:1]))) == ""


def test_four_long_alt_texts_fit_below_a_prompt():
    long = tuple(replace(MADE[0], id=str(n), alt=f"fox {n} " * 200) for n in range(4))
    alts = picture_texts.format_alts(make_job(options={"prompt": "a fox"}, result=Result(media=long)))

    assert [line[:8] for line in alts.splitlines()] == [f"{n}. fox {n - 1}" for n in (1, 2, 3, 4)]
    assert len(alts) < 700
