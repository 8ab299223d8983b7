import pytest
from sqlalchemy import Engine, event

from bot.jobs import JobState
from bot.ports import ALL_JOBS, HistoryFilter
from tests.storage.factories import accept, claim, render


async def found(storage, person, q="", **overrides):
    asked = {"state": None, "before": None, "limit": 50, **overrides}
    jobs, _ = await storage.history.list_jobs(person.id, q=q, **asked)
    return [job.id for job in jobs]


async def test_pages_go_from_the_newest_to_the_oldest_without_gaps(storage, ann):
    jobs = await accept(storage, ann, 7)
    seen, before = [], None
    for _ in range(3):
        page, before = await storage.history.list_jobs(ann.id, state=None, q="", before=before, limit=3)
        seen += [job.id for job in page]

    assert seen == [job.id for job in reversed(jobs)]
    assert before is None


async def test_pages_go_from_one_job_to_the_newest_without_gaps(storage, ann, ben):
    first, *newer = await accept(storage, ann, 6)
    pages: list[list[str]] = []
    after: str | None = first.id
    while after is not None:
        page, after = await storage.history.list_jobs(ann.id, state=None, q="", before=None, after=after, limit=2)
        pages.append([job.id for job in page])

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [job_id for page in reversed(pages) for job_id in page] == [job.id for job in reversed(newer)]
    assert await found(storage, ann, after="nothing") == []
    assert await found(storage, ben, after=first.id) == []


async def test_a_full_last_page_promises_no_more(storage, ann):
    await accept(storage, ann, 3)
    _, following = await storage.history.list_jobs(ann.id, state=None, q="", before=None, limit=3)

    assert following is None


async def test_newcomers_do_not_shift_the_pages(storage, ann):
    old = await accept(storage, ann, 4)
    first, before = await storage.history.list_jobs(ann.id, state=None, q="", before=None, limit=2)
    await accept(storage, ann, 5)
    second, _ = await storage.history.list_jobs(ann.id, state=None, q="", before=before, limit=2)

    assert [job.id for job in first + second] == [job.id for job in reversed(old)]


async def test_jobs_of_one_state_can_be_asked_for(storage, ann):
    first, second = await accept(storage, ann, 2)
    await render(storage, await claim(storage))

    assert await found(storage, ann, state=JobState.QUEUED) == [second.id]
    assert await found(storage, ann, state=JobState.DELIVERED) == [first.id]


@pytest.mark.parametrize(
    ("text", "q"),
    [
        ("A Purple rocket, at dawn", "purple ROCKET"),
        ("A purple rocket", "rock pur"),
        ("A purple rocket", "a p"),
        ("Ein Käfer im Garten", "kafer"),
        ("a café in Zürich", "CAFÉ zurich"),
        ("紫色の背景にロケット", "ロケット"),
        ("一只猫坐在窗台上", "猫"),
        ("一只猫坐在窗台上", "窗台 猫"),
        ("จรวดบนพื้นหลังสีม่วง", "สีม่วง"),
        ("고양이가 잔다", "고양이"),
        ("кот на крыше", "кры"),
        ("a 🦊 and a ☃", "🦊 ☃"),
        ('say "cheese" (it\'s 100%)', '"cheese" it\'s'),
        ("node.js c++ a_b", "node.js"),
        ("x AND y OR z NOT w NEAR", "and near"),
        ("𠮷野家", "𠮷"),
    ],
)
async def test_words_prefixes_and_scripts_without_spaces_are_found(storage, ann, text, q):
    [job] = await accept(storage, ann, search_text=text)
    await accept(storage, ann, search_text="something else entirely")

    assert await found(storage, ann, q) == [job.id]


@pytest.mark.parametrize(
    "q", ["purple zebra", "ocket", "p rocket", "猫窗", "NOT rocket", "owner", "text:rocket", '"', "*", "---"]
)
async def test_what_is_not_there_is_not_found(storage, ann, q):
    await accept(storage, ann, search_text="a purple rocket 一只猫坐在窗台上")

    assert await found(storage, ann, q) == []


@pytest.mark.parametrize(
    "q", ["'", '"', '""', "(", ")", "*", "^", ":", "-a", "a*b", "NEAR(", "{x}", "\\", ";--", "\0", "a\0b", "\ud83e"]
)
async def test_no_character_is_special(storage, ann, q):
    await accept(storage, ann, search_text="nothing of the kind")

    await found(storage, ann, q)


async def test_answers_are_searched_too_and_spaces_alone_are_no_search(storage, ann):
    [job] = await accept(storage, ann, search_text="what is this?")
    await render(storage, await claim(storage), text="a lighthouse on a cliff")

    assert await found(storage, ann, "this lighthouse") == [job.id]
    assert await found(storage, ann, "   ") == [job.id]


async def test_a_job_without_words_is_found_by_its_caption(storage, ann):
    [job] = await accept(storage, ann, search_text="")
    await render(storage, await claim(storage), text="two dogs")

    assert await found(storage, ann, "dogs") == [job.id]


async def test_search_pages_too(storage, ann):
    jobs = await accept(storage, ann, 5, search_text="a fox")
    first, before = await storage.history.list_jobs(ann.id, state=None, q="fox", before=None, limit=3)
    second, last = await storage.history.list_jobs(ann.id, state=None, q="fox", before=before, limit=3)

    assert [job.id for job in first + second] == [job.id for job in reversed(jobs)]
    assert last is None


@pytest.mark.parametrize("only", [ALL_JOBS, HistoryFilter(favourite=True), HistoryFilter(command="imagine", model="m")])
async def test_a_total_is_counted_without_reading_the_jobs(storage, ann, only):
    asked = []

    def remember(*execution):
        asked.append(execution[2:4])

    event.listen(Engine, "before_cursor_execute", remember)
    try:
        await storage.history.count_jobs(ann.id, state=None, q="", only=only)
    finally:
        event.remove(Engine, "before_cursor_execute", remember)
    statement, values = next(one for one in asked if "count(" in one[0])
    plan = await storage.jobs._database.run_read(
        lambda tx: [row[3] for row in tx.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, values)]
    )
    of_jobs = [step for step in plan if "SEARCH job" in step or "SCAN job" in step]

    assert of_jobs
    assert all("COVERING INDEX" in step for step in of_jobs)
