"""Discord's limits, obeyed by design: sizes, rates, lengths, links that run out, mentions."""

import asyncio
import heapq
import io
import random
import zlib

import discord
import pytest
from PIL import Image

import adapters.discord.rate_limit
from adapters.discord import rendering
from adapters.discord.circuit_breaker import CircuitBreaker
from adapters.discord.library_patches import OFFICIAL_API, OFFICIAL_GATEWAY, SYNC_FLUSH, set_api_base, use_zlib
from adapters.discord.rate_limit import MAX_WAIT_S, WINDOW_S, WRITES_PER_WINDOW, ProgressEditors, RateLimiter
from bot.jobs import Media
from bot.ports.platform_answers import PlatformError
from tests.discord.app_fixture import DiscordApp
from tests.discord.loopback.discord_server_state import MIB
from tests.discord.simulated_users import SimulatedUser, is_finished, until
from tests.discord.test_conversation import a_photo, imagine_and_wait, job_of


def noise(side: int) -> bytes:
    """A picture that no encoder makes much smaller."""
    made = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(3).randbytes(side * side * 3)).save(
        made, "PNG", compress_level=0
    )
    return made.getvalue()


@pytest.fixture
def heavy(app: DiscordApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is of more than 10 MiB."""
    data = noise(1900)
    finish = app.pool._finish

    def made(task):
        done = finish(task)
        object.__setattr__(done, "images", tuple(_with(one, data) for one in done.images))
        return done

    def _with(one, data):
        object.__setattr__(one, "media", Media(data, "image/png"))
        return one

    monkeypatch.setattr(app.pool, "_finish", made)


# ---------------------------------------------------------------- sizes


async def test_a_file_over_the_limit_is_made_smaller_and_says_so(
    app: DiscordApp, ann: SimulatedUser, heavy: None
) -> None:
    message = await imagine_and_wait(ann)

    assert message.attachments[0].filename.endswith(".jpg")
    assert len(message.attachments[0].data) <= 10 * MIB
    assert "Shrunk" in message.content


@pytest.mark.parametrize(("limit", "count", "most"), [(50, 1, 24.8), (50, 4, 6.2), (10, 1, 10), (0, 1, 10)])
def test_what_one_file_may_have(limit: int, count: int, most: float) -> None:
    assert rendering.max_file_bytes(limit * MIB, count) / MIB == pytest.approx(most, abs=0.1)


async def test_four_large_pictures_fit_one_request_together(app: DiscordApp, ann: SimulatedUser, heavy: None) -> None:
    message = await imagine_and_wait(ann, count=4)

    sizes = [len(one.data) for one in message.attachments]
    assert len(sizes) == 4
    assert sum(sizes) < 25 * MIB


async def test_a_picture_that_discord_still_finds_too_large_is_made_smaller_again(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    app.server.fail("PATCH", "/channels/.*/messages/", 413, code=40005)

    message = await imagine_and_wait(ann)

    assert message.attachments


async def test_no_upload_that_is_too_large_is_even_fetched(app: DiscordApp, ann: SimulatedUser) -> None:
    huge = a_photo(app.server)
    huge.data += bytes(21 * MIB)

    asked = ann.slash("caption", image=huge)

    assert "at most 10 MiB, or 20 in HEIC" in await ann.private_reply(asked)
    assert app.server.rest.fetched == []


# ---------------------------------------------------------------- lengths and words


async def test_a_long_prompt_is_cut_and_its_figures_stay(app: DiscordApp, ann: SimulatedUser) -> None:
    message = await imagine_and_wait(ann, "a fox " * 333)

    assert len(message.content) <= 2000
    assert "seed" in message.content
    assert len(message.attachments[0].description or "") <= 1024


async def test_words_of_people_have_no_effect(app: DiscordApp, ann: SimulatedUser) -> None:
    message = await imagine_and_wait(ann, "@everyone **bold** ||hidden|| <@1> `code` https://example.org/a_b_c")

    assert r"\*\*bold\*\*" in message.content
    assert r"\|\|hidden" in message.content
    bodies = [call.body for call in app.server.state.calls if call.body and "allowed_mentions" in call.body]
    assert bodies
    assert all(body["allowed_mentions"].get("parse") == [] for body in bodies)
    assert app.server.state.sent("POST", "/messages")[0].body["flags"] == 4


@pytest.mark.parametrize("text", ["x" * 5000, "\n".join("y" * 30 for _ in range(200)), "*" * 1999, "\\" * 3000, ""])
def test_no_text_is_too_long(text: str) -> None:
    assert len(rendering.to_plain_text(text)) <= 2000


def test_command_lines_are_code_and_other_markup_is_not() -> None:
    assert rendering.to_plain_text("Run `easel models use a_b`, *not* `this`.") == (
        r"Run `easel models use a_b`, \*not\* \`this\`."
    )
    cut = rendering.to_plain_text("x" * 1990 + " `easel models use a_b`")
    assert "`" not in cut
    assert cut.endswith("\u2026")


async def test_an_expired_link_is_explained(app: DiscordApp, ann: SimulatedUser) -> None:
    photo = a_photo(app.server)
    app.server.state.advance_clock(90_000)

    asked = ann.slash("caption", image=photo)
    app.server.state.interactions[asked.token].created = app.server.state.now()

    assert "send it again" in await ann.private_reply(asked)


async def test_a_file_that_does_not_come_at_first_is_fetched_again(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.rest.cdn_failures = 1

    ann.slash("caption", image=a_photo(app.server))

    assert (await ann.finished()).content
    assert len(app.server.rest.fetched) == 2


async def test_links_to_other_places_are_never_followed(app: DiscordApp, ann: SimulatedUser) -> None:
    photo = a_photo(app.server)
    photo.url = photo.url.replace("127.0.0.1", "localhost")  # it is there, under a name that is not Discord's

    asked = ann.slash("caption", image=photo)

    assert "send it again" in await ann.private_reply(asked)
    assert app.server.rest.fetched == []


# ---------------------------------------------------------------- rates


async def test_many_people_in_one_channel_meet_no_limit(app: DiscordApp, ann: SimulatedUser, real_pace: None) -> None:
    for _ in range(4):
        ann.slash("imagine", prompt="a fox")

    await until(lambda: len(ann.channel.from_bot) == 4, "all placeholders", 60)
    await until(lambda: all(is_finished(one) for one in ann.channel.from_bot), "all results", 60)

    assert app.server.rest.limits.refused == []


async def test_a_busy_channel_holds_up_no_other(app: DiscordApp, ann: SimulatedUser, real_pace: None) -> None:
    for _ in range(12):
        ann.slash("imagine", prompt="a fox")
    await until(lambda: len(ann.channel.from_bot) >= 4, "some placeholders")
    other = ann.in_channel(app.server.state.channel())

    other.slash("imagine", prompt="a fox")
    await until(lambda: other.channel.from_bot, "the other's placeholder", 8)

    assert len(ann.channel.from_bot) < 12


async def test_a_storm_of_429_is_waited_out(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("POST", "/messages", 429, times=3, delay_s=0)

    message = await imagine_and_wait(ann)

    assert message.attachments
    assert len(ann.channel.from_bot) == 1


async def test_an_answer_that_gets_lost_makes_no_second_message(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("POST", "/messages", "lose")

    message = await imagine_and_wait(ann)

    assert message.attachments
    assert len(app.server.state.sent("POST", "/messages")) == 2
    assert len(ann.channel.from_bot) == 1


@pytest.mark.parametrize("how", [500, 503, "drop", "lose"])
async def test_an_edit_that_fails_is_repeated(app: DiscordApp, ann: SimulatedUser, how: int | str) -> None:
    app.server.fail("PATCH", "/channels/", how)

    message = await imagine_and_wait(ann)

    assert message.attachments


async def test_a_deferral_that_fails_keeps_nobody_from_their_picture(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("POST", "/callback", "drop")

    assert (await imagine_and_wait(ann)).attachments


async def test_an_interaction_that_came_too_late_is_done_all_the_same(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("POST", "/callback", 404, code=10062)

    assert (await imagine_and_wait(ann)).attachments


# ---------------------------------------------------------------- pace, by itself


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> RateLimiter:
    monkeypatch.setattr(RateLimiter, "writes", WRITES_PER_WINDOW)
    monkeypatch.setattr(RateLimiter, "window_s", WINDOW_S)
    return RateLimiter(clock)


async def test_a_channel_gets_its_writes_and_then_has_to_come_again(paced: RateLimiter) -> None:
    for _ in range(WRITES_PER_WINDOW):
        await paced.wait_for_slot("1")

    with pytest.raises(PlatformError) as refused:
        await paced.wait_for_slot("1")
    await paced.wait_for_slot("2")

    assert MAX_WAIT_S < (refused.value.retry_after_s or 0) <= WINDOW_S


async def test_postponed_writes_do_not_all_come_back_for_the_same_slots(
    paced: RateLimiter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters.discord.rate_limit, "MAX_WAIT_S", 0.0)  # instead of sleeping
    due, tries = [(clock.now, number) for number in range(100)], 0
    while due:
        clock.now, number = heapq.heappop(due)
        tries += 1
        try:
            await paced.wait_for_slot("1", owner="ann")
        except PlatformError as error:
            heapq.heappush(due, (clock.now + (error.retry_after_s or 0) + 0.01, number))

    assert tries < 250
    assert clock.now < 100 + 1.2 * 100 / WRITES_PER_WINDOW * WINDOW_S


async def test_somebody_elses_postponed_writes_are_not_all_ahead(
    paced: RateLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters.discord.rate_limit, "MAX_WAIT_S", 0.0)
    waits_s = {}
    for owner in [*["ann"] * (WRITES_PER_WINDOW + 100), "bob"]:
        try:
            await paced.wait_for_slot("1", owner=owner)
        except PlatformError as error:
            waits_s[owner] = error.retry_after_s or 0

    assert waits_s["ann"] > 20 * WINDOW_S
    assert waits_s["bob"] <= WINDOW_S


async def test_progress_leaves_room_for_results(paced: RateLimiter) -> None:
    for _ in range(WRITES_PER_WINDOW // 2 + 1):
        await paced.wait_for_slot("1")

    assert not paced.has_spare_capacity("1")
    assert paced.has_spare_capacity("2")


async def test_only_the_latest_progress_of_a_message_is_shown() -> None:
    shown: list[int] = []
    editors = ProgressEditors(RateLimiter(), every_s=0.05)

    def show(step: int):
        async def now() -> None:
            shown.append(step)

        return now

    for step in range(10):
        editors.schedule("1", "m", show(step))
    await asyncio.sleep(0.02)
    for step in range(10, 20):
        editors.schedule("1", "m", show(step))
    await asyncio.sleep(0.15)

    assert shown == [9, 19]


async def test_no_progress_follows_a_result() -> None:
    shown: list[str] = []
    editors = ProgressEditors(RateLimiter(), every_s=0.01)

    async def slowly() -> None:
        await asyncio.sleep(0.05)
        shown.append("progress")

    editors.schedule("1", "m", slowly)
    await asyncio.sleep(0.01)
    editors.schedule("1", "m", slowly)
    await editors.finish("1", "m")
    shown.append("result")
    await asyncio.sleep(0.15)

    assert shown == ["progress", "result"]


def test_a_thousand_refusals_open_the_breaker_for_a_while() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock, limit=100)
    for _ in range(99):
        breaker.count_status(403)
    breaker.count_status(200)
    breaker.check()
    breaker.count_status(429)

    with pytest.raises(PlatformError):
        breaker.check()
    clock.now += 601
    breaker.check()


async def test_the_circuit_breaker_counts_the_responses_of_the_library(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("POST", "/messages", 403, code=50013)
    ann.slash("imagine", prompt="a fox")

    await ann.in_channel(app.server.state.dm(ann.person)).finished()

    assert len(app.discord.context.circuit_breaker._refused) == 1


# ---------------------------------------------------------------- the two undocumented names


def test_the_two_names_that_the_library_does_not_promise_are_there() -> None:
    from discord.gateway import DiscordWebSocket
    from discord.http import Route

    assert OFFICIAL_API == "https://discord.com/api/v10"
    assert str(OFFICIAL_GATEWAY) == "wss://gateway.discord.gg/"
    set_api_base("http://127.0.0.1:9041/api/v10/", "ws://127.0.0.1:9040/")
    assert Route("GET", "/users/@me").url == "http://127.0.0.1:9041/api/v10/users/@me"
    assert str(DiscordWebSocket.DEFAULT_GATEWAY) == "ws://127.0.0.1:9040/"
    set_api_base("", "")
    assert Route.BASE == OFFICIAL_API


def test_the_gateway_is_asked_for_zlib_whatever_packages_are_installed() -> None:
    packer = zlib.compressobj()
    frames = [packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH) for text in (b'{"op": 10}', b'{"op": 11}')]
    use_zlib()
    inflater = discord.utils._ActiveDecompressionContext()
    first = [inflater.decompress(part) for part in (frames[0][:5], frames[0][5:])]

    assert discord.utils._ActiveDecompressionContext.COMPRESSION_TYPE == "zlib-stream"
    assert (first, inflater.decompress(frames[1])) == ([None, '{"op": 10}'], '{"op": 11}')
    with pytest.raises(zlib.error):
        inflater.decompress(b"\x07" + SYNC_FLUSH)


async def test_a_result_of_long_ago_has_buttons_that_work(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    app.server.state.advance_clock(400 * 86_400)

    ann.press(made, "reroll")

    assert (await job_of(app, await ann.finished(2))).parent
