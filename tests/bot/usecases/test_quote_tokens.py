"""The tokens that a quote counts: of the longest prompt of its jobs, as it is after styles and wildcards."""

import pytest

from bot.ports import TokenCount
from bot.prompts.grammar import longest_prompts
from tests.bot.usecases.test_jobs import ANN, Harness, make_request, upload


class WordCounter:
    async def count_tokens(self, model, texts):
        return {name: TokenCount(tokens=len(text.split()), limit=75) for name, text in texts.items()}


@pytest.fixture
def harness():
    harness = Harness()
    harness.jobs._token_counter = WordCounter()
    return harness


@pytest.mark.parametrize(
    ("each", "texts"),
    [
        ([{"prompt": "a", "negative_prompt": ""}], {"prompt": "a"}),
        ([{"prompt": "a"}, {"prompt": "a b", "negative_prompt": "c"}], {"prompt": "a b", "negative_prompt": "c"}),
        ([{"prompt": "a", "prompts": ["a", "a b"], "count": 2}], {"prompt": "a b"}),
        ([{"prompt": "[a:a b c:0.5] d"}], {"prompt": "a b c d"}),
        ([{"question": "a"}], {}),
    ],
)
def test_the_longest_text_counts(each, texts):
    assert longest_prompts(each) == texts


async def test_a_quote_has_the_tokens_of_its_prompts(harness):
    quote = await harness.jobs.quote(ANN, make_request(options={"prompt": "a {red|very red} fox"}))

    assert quote.tokens == {"prompt": TokenCount(tokens=4, limit=75)}


async def test_what_no_image_model_reads_is_not_counted(harness):
    image = await upload(harness)
    request = make_request(command="ask", options={"question": "What is it?"}, images=(image,))

    assert (await harness.jobs.quote(ANN, request)).tokens == {}
