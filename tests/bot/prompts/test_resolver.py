"""Resolving prompts: styles, wildcards, LoRAs, textual inversions."""

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bot import error_texts
from bot.errors import InvalidOption
from bot.options import MAX_SEED
from bot.ports import PromptAddon, TaskAddon
from bot.prompts.combinations import expand_combinations
from bot.prompts.resolver import MAX_REQUEST_DRAWS, MAX_REQUEST_TEXT, PromptResolver, original_prompt
from bot.prompts.styles import StyleSettings
from bot.prompts.wildcards import WildcardFolder
from tests.fakes import make_model

STYLES = {
    "ink": StyleSettings(prompt="ink drawing of {prompt}", negative="colour"),
    "pixel-art": StyleSettings(prompt="pixel art"),
}
KEPT = [
    PromptAddon(name="film", kind="lora", family="sd15", size=1, path="/loras/film.safetensors"),
    PromptAddon(name="xl-film", kind="lora", family="sdxl", size=1, path="/loras/xl-film.safetensors"),
    PromptAddon(name="odd", kind="lora", family="", size=1, path="/loras/odd.safetensors"),
    PromptAddon(name="cat-toy", kind="inversion", family="sd15", size=1, path="/embeddings/cat-toy.safetensors"),
    PromptAddon(name="xl-toy", kind="inversion", family="sdxl", size=1, path="/embeddings/xl-toy.safetensors"),
]
SD15 = make_model(capabilities={"family": "sd15"})
UNLOADED = make_model()


@pytest.fixture
def wording(tmp_path):
    (tmp_path / "animal.txt").write_text("\n".join(["fox", "cat", "owl", "hare", "newt"]))
    (tmp_path / "filmed.txt").write_text("a fox <lora:film:0.5>\n")
    return PromptResolver(styles=STYLES, wildcards=WildcardFolder(tmp_path), list_addons=lambda: KEPT)


def options(prompt: str, **more):
    return {"prompt": prompt, "negative_prompt": "", "seed": 7, "count": 1} | more


async def refusal(wording: PromptResolver, prompt: str, model=SD15, **more) -> InvalidOption:
    with pytest.raises(InvalidOption) as refused:
        await wording.resolve(options(prompt, **more), model)
    assert error_texts.explain(refused.value)
    return refused.value


async def test_a_plain_prompt_stays_as_it_is(wording):
    asked = options("a fox, at night")

    assert await wording.resolve(asked, SD15) == asked


async def test_what_has_no_prompt_stays_as_it_is(wording):
    asked = {"question": "What is __this__?"}

    assert await wording.resolve(asked, SD15) == asked


# ---------------------------------------------------------------- styles


async def test_a_style_is_put_around_the_prompt_and_what_was_typed_is_kept(wording):
    made = await wording.resolve(options("a fox", negative_prompt="red", style="ink"), SD15)

    assert made == options(
        "ink drawing of a fox",
        negative_prompt="red, colour",
        asked={"prompt": "a fox", "negative_prompt": "red", "style": "ink"},
    )
    assert original_prompt(made) == options("a fox", negative_prompt="red", style="ink")


@pytest.mark.parametrize("name", ["pixel-art", "Pixel Art", "pixel_art"])
async def test_a_style_without_a_place_comes_after_the_prompt(wording, name):
    made = await wording.resolve(options("a fox", style=name), SD15)

    assert made["prompt"] == "a fox, pixel art"


async def test_a_model_without_negative_prompts_gets_none_from_a_style(wording):
    model = replace(SD15, takes_negative=False)

    assert (await wording.resolve(options("a fox", style="ink"), model))["negative_prompt"] == ""


async def test_an_unknown_style_is_refused_with_the_nearest(wording):
    error = await refusal(wording, "a fox", style="inks")

    assert (error.option, error.problem, error.nearest) == ("style", "choice", "ink")


async def test_where_there_is_no_style_the_refusal_says_so():
    error = await refusal(PromptResolver(), "a fox", style="ink")

    assert error.problem == "no_styles"


# ---------------------------------------------------------------- wildcards


async def test_each_picture_draws_with_its_own_seed(wording):
    made = await wording.resolve(options("a __animal__", count=4), SD15)

    alone = [(await wording.resolve(options("a __animal__", seed=7 + k), SD15))["prompt"] for k in range(4)]
    assert made["prompts"] == alone
    assert made["prompt"] == alone[0]
    assert made["asked"]["prompt"] == "a __animal__"
    assert len(set(alone)) > 1


async def test_seeds_wrap_around_after_the_last(wording):
    made = await wording.resolve(options("a __animal__", seed=MAX_SEED, count=2), SD15)

    assert (made.get("prompts") or [made["prompt"]] * 2)[1] == (
        await wording.resolve(options("a __animal__", seed=0), SD15)
    )["prompt"]


async def test_negative_prompts_and_styles_may_hold_wildcards(wording):
    styled = replace(wording, styles={"zoo": StyleSettings(prompt="{prompt} with a __animal__")})

    made = await styled.resolve(options("a hat", style="zoo", negative_prompt="__animal__"), SD15)

    assert "__" not in made["prompt"] + made["negative_prompt"]


async def test_an_unknown_wildcard_is_reported_with_its_option(wording):
    error = await refusal(wording, "a fox", negative_prompt="__animals__")

    assert (error.option, error.problem) == ("negative_prompt", "wildcard")


async def test_a_drawn_prompt_may_be_too_long(wording):
    error = await refusal(replace(wording, styles={"long": StyleSettings(prompt="x" * 5000)}), "a fox", style="long")

    assert (error.option, error.problem) == ("prompt", "long")


# ---------------------------------------------------------------- LoRAs


async def test_a_lora_of_the_models_family_stays_in_the_prompt(wording):
    asked = options("a fox <lora:Film:0.8> <lora:odd:-2>")

    assert await wording.resolve(asked, SD15) == asked
    assert await wording.addons_used(asked, SD15) == (
        TaskAddon("film", "lora", "/loras/film.safetensors"),
        TaskAddon("odd", "lora", "/loras/odd.safetensors"),
    )


async def test_an_unknown_lora_is_refused_with_those_that_fit(wording):
    error = await refusal(wording, "a fox <lora:films:1>")

    assert (error.problem, error.value, error.allowed, error.nearest) == ("lora", "films", "film, odd", "film")


async def test_a_lora_of_another_family_is_refused_with_those_that_fit(wording):
    error = await refusal(wording, "a fox <lora:xl-film:1>")

    assert (error.problem, error.allowed) == ("lora_fits", "film, odd")


async def test_before_a_model_was_ever_loaded_its_loras_are_not_judged(wording):
    assert await wording.resolve(options("a fox <lora:xl-film:1>"), UNLOADED)


@pytest.mark.parametrize("weight", ["3", "-2.1", "much", "1:2", "9" * 30])
async def test_a_weight_that_is_none_is_refused(wording, weight):
    error = await refusal(wording, f"a fox <lora:film:{weight}>")

    assert (error.problem, error.allowed) == ("lora_weight", "-2 to 2")


@pytest.mark.parametrize(
    "tag", ["<lora:film>", "<lora:film:>", "<lyco:film:1>", "<lora:film:1.>", "<lora:film.safetensors:1>"]
)
async def test_a_lora_is_found_by_each_of_its_tags(wording, tag):
    made = await wording.resolve(options(f"a fox {tag}"), SD15)

    assert made["prompt"] == f"a fox {tag}"
    assert [one.path for one in await wording.addons_used(made, SD15)] == ["/loras/film.safetensors"]


async def test_a_prompt_of_tags_alone_is_empty(wording):
    error = await refusal(wording, "<hypernet:ink:1>")

    assert error.problem == "empty"


@pytest.mark.parametrize(
    "prompt", ["[a|b]" * 65, " ".join(f"[{'|'.join(map(str, range(count)))}]" for count in (5, 7))]
)
@pytest.mark.parametrize("option", ["prompt", "negative_prompt"])
async def test_a_prompt_that_changes_too_often_is_refused(wording, prompt, option):
    prompts = {"prompt": "a fox", option: prompt}
    error = await refusal(wording, prompts.pop("prompt"), steps=40, **prompts)

    assert (error.option, error.problem, error.allowed) == (option, "edits", "32")


async def test_a_long_prompt_changes_less_often_because_each_of_its_texts_is_encoded(wording):
    long, choices = "red " * 450, "|".join("abcdefghijklmnopqrst")

    error = await refusal(wording, f"{long}[{choices}]", steps=20)

    assert (error.problem, error.value, error.allowed) == ("edits_long", 20 * 1801, "32000")
    for fitting in (f"{long}[a|b]", f"a fox [{choices}]", "red " * 450):
        await wording.resolve(options(fitting, steps=20), SD15)


async def test_edits_are_kept_as_they_are_typed(wording):
    asked = options("a [cat:dog:0.5] [red|blue] (x:-1)", negative_prompt="[a|b]", steps=150)

    assert await wording.resolve(asked, SD15) == asked


async def test_too_many_loras_are_refused(wording):
    error = await refusal(wording, " ".join(f"<lora:l{n}:1>" for n in range(6)) + " fox")

    assert error.problem == "loras"


async def test_without_any_lora_the_refusal_says_how_to_get_one():
    error = await refusal(PromptResolver(), "a fox <lora:film:1>")

    assert error.problem == "no_lora"


async def test_a_lora_alone_is_no_prompt(wording):
    assert (await refusal(wording, "<lora:film:1>")).problem == "empty"


async def test_a_larger_picture_leaves_out_what_its_model_cannot_take(wording):
    made = await wording.resolve(options("a fox <lora:xl-film:1>"), SD15, must_fit=False)

    assert made["prompt"] == "a fox"


async def test_a_drawn_line_may_name_a_lora(wording):
    made = await wording.resolve(options("__filmed__"), SD15)

    assert [one.name for one in await wording.addons_used(made, SD15)] == ["film"]


async def test_a_lora_that_was_removed_since_is_reported(wording):
    with pytest.raises(InvalidOption):
        await replace(wording, list_addons=list).addons_used(options("a fox <lora:film:1>"), SD15)


async def test_a_learned_word_is_found_among_the_words(wording):
    for prompt, negative in [("a CAT-TOY here", ""), ("a fox", "(cat-toy:1.2)")]:
        found = await wording.addons_used(options(prompt, negative_prompt=negative), SD15)

        assert found == (TaskAddon("cat-toy", "inversion", "/embeddings/cat-toy.safetensors"),)


NAMED = [
    PromptAddon(name="add-detail-v1-5", kind="lora", family="", size=1, path="/d", spellings=("Add_Detail v1.5",)),
    PromptAddon(name="斗鱼", kind="lora", family="", size=1, path="/f"),
    PromptAddon(
        name="bad-prompt-version2", kind="inversion", family="", size=1, path="/b", spellings=("bad_prompt version2",)
    ),
    PromptAddon(name="toy", kind="inversion", family="", size=1, path="/t", spellings=("learned.toy", "<cat-toy>")),
]


@pytest.mark.parametrize("name", ["Add_Detail v1.5", "add_detail_v1.5", "add-detail-v1-5", "ADD DETAIL V1.5", "斗鱼"])
async def test_a_lora_is_called_by_its_files_name(name):
    named = PromptResolver(list_addons=lambda: NAMED)
    asked = options(f"a fox <lora:{name}:0.5>")

    assert await named.resolve(asked, SD15) == asked
    used = await named.addons_used(asked, SD15)
    assert [one.path for one in used] == ["/f" if name == "斗鱼" else "/d"]


@pytest.mark.parametrize(
    ("text", "word", "path"),
    [
        ("bad_prompt version2", "bad_prompt version2", "/b"),
        ("(Bad_Prompt_version2:1.2), red", "bad_prompt_version2", "/b"),
        ("bad-prompt-version2", "bad-prompt-version2", "/b"),
        ("a <cat-toy> here", "<cat-toy>", "/t"),
        ("learned.toy", "learned.toy", "/t"),
        ("embedding:toy", "toy", "/t"),
    ],
)
async def test_an_inversion_is_called_by_its_files_name_or_its_token(text, word, path):
    used = await PromptResolver(list_addons=lambda: NAMED).addons_used(options("a fox", negative_prompt=text), SD15)

    assert used == (TaskAddon(word, "inversion", path),)


@pytest.mark.parametrize("text", ["bad prompt", "bad_prompt_version20", "a badprompt_version2", "learnedxtoys"])
async def test_other_words_are_not_an_inversion(text):
    assert await PromptResolver(list_addons=lambda: NAMED).addons_used(options(text), SD15) == ()


@pytest.mark.parametrize("prompt", ["a cat-toys", "my-cat-toy", "an xl-toy"])
async def test_parts_of_words_and_words_of_other_families_are_not_learned_ones(wording, prompt):
    assert await wording.addons_used(options(prompt), SD15) == ()


# ---------------------------------------------------------------- bounded in all


@pytest.fixture
def work(monkeypatch):
    """How often folders were listed and files were opened."""
    counts: Counter[str] = Counter()
    rglob, opened = Path.rglob, Path.open

    def count_rglob(path, *args):
        counts["listed"] += 1
        return rglob(path, *args)

    def count_open(path, *args, **kwargs):
        counts["opened"] += 1
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "rglob", count_rglob)
    monkeypatch.setattr(Path, "open", count_open)
    return counts


async def test_a_request_lists_the_wildcards_once_however_many_it_draws(wording, work):
    prompts = expand_combinations("{a|b|c|d|e|f|g|h} {a|b} " + "__animal__ " * 14)

    made = await wording.resolve_all([options(prompt, count=4) for prompt in prompts], SD15)

    assert len(made) == 16
    assert work == {"listed": 1, "opened": 1}


async def test_a_request_lists_the_loras_once_however_many_prompts_name_them(wording):
    listings = []

    def list_addons():
        listings.append(threading.current_thread())
        return KEPT

    counted = replace(wording, list_addons=list_addons)
    await counted.resolve_all([options(f"a fox {n} <lora:film:1>", count=4) for n in range(64)], SD15)

    assert len(listings) == 1
    assert listings[0] is not threading.current_thread()
    await counted.addons_used(options("a cat-toy <lora:film:1>"), SD15)
    assert len(listings) == 2


async def test_draws_are_bounded_for_all_prompts_of_a_request(wording):
    each = [options("__animal__ " * 60, count=4)] * 64

    with pytest.raises(InvalidOption) as refused:
        await wording.resolve_all(each, SD15)

    fitting = MAX_REQUEST_DRAWS // 240
    assert (refused.value.option, refused.value.problem, refused.value.allowed) == ("prompt", "combinations", "4")
    assert len(await wording.resolve_all(each[:fitting], SD15)) == fitting


async def test_texts_are_bounded_for_all_prompts_of_a_request(wording):
    styled = replace(wording, styles={"long": StyleSettings(prompt="{prompt} " + "x" * 3000)})
    fitting = MAX_REQUEST_TEXT // 3005

    with pytest.raises(InvalidOption) as refused:
        await styled.resolve_all([options("a fox", style="long")] * 64, SD15)

    assert (refused.value.problem, refused.value.allowed) == ("combinations", str(fitting))


async def test_a_plain_prompt_needs_no_thread(wording):
    class NoWorker:
        async def collect(self, steps, *, owner, is_light):
            assert is_light
            return list(steps)

    inline = replace(wording, worker=NoWorker())

    assert (await inline.resolve(options("a (red:1.2) fox"), SD15))["prompt"] == "a (red:1.2) fox"
    for heavy in ("a __animal__", "a fox <lora:film:1>"):
        with pytest.raises(AssertionError):
            await inline.resolve(options(heavy), SD15)
