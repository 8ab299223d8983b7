"""Submitting, following and cancelling jobs, as adapters do."""

import asyncio
import threading
from contextlib import aclosing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot.commands.imagine_options import DRAWING
from bot.error_texts import explain
from bot.errors import (
    Blocked,
    IdempotencyConflict,
    InvalidOption,
    JobNotFound,
    MediaNotFound,
    NotCancellable,
    ShuttingDown,
    StorageBusy,
    UnknownCommand,
)
from bot.jobs import ImageRef, JobState, Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMPORT_S, LOAD_START_S, TEXT_TO_IMAGE, ModelRegistry
from bot.ports import DeviceStatus, FairShareLane, Measurement, Progress
from bot.prompts.resolver import PromptResolver
from bot.prompts.styles import StyleSettings
from bot.prompts.wildcards import WildcardFolder
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.safety import BlockedWords, SafetySettings
from bot.settings.core import QueueSettings, QuotaSettings
from bot.usecases import JobUseCases, Moderation, Request
from bot.usecases import jobs as usecases_jobs
from bot.usecases.requests import body_hash
from tests.fakes import (
    FakeHistory,
    FakeJobStore,
    FakeMediaStore,
    FakePeople,
    eventually,
    make_job,
    make_model,
    make_origin,
    make_person,
    make_result,
    media_id,
)
from tests.moderation import FakeClassifierAvailability, Unmoderated

ANN, BOB = make_person(), make_person(id="bob", name="Bob")
STEP = Progress(step=1, steps=4)


def make_device(name="cpu", **overrides):
    return DeviceStatus(**{"device": name, "state": "ready", "loaded": ("fox-diffusion",), **overrides})


class Harness:
    """The use cases with fakes; `woken` and `interrupted` record the calls to the dispatcher."""

    def __init__(self):
        self.store, self.media, self.events, self.rates = FakeJobStore(), FakeMediaStore(), ProgressBus(), Rates()
        self.people: Any = FakePeople()
        self.models = ModelRegistry({"fox-diffusion": make_model(step_s=1.0, overhead_s=0.0, steps=10)})
        self.woken, self.interrupted = [], []
        self.devices = [make_device()]
        self.wakes = 0
        self.quota = QuotaSettings()
        self.wording, self.moderation = PromptResolver(), cast("Moderation", Unmoderated())
        self.jobs = self.build()

    def build(self, secret=b"secret"):
        return JobUseCases(
            store=self.store,
            history=FakeHistory(self.store),
            media=self.media,
            people=self.people,
            models=self.models,
            rates=self.rates,
            progress_bus=self.events,
            moderation=self.moderation,
            queue=QueueSettings(),
            quota=self.quota,
            wake=self.wake,
            interrupt=self.interrupted.append,
            devices=lambda: self.devices,
            secret=secret,
            prompt_resolver=self.wording,
        )

    def wake(self, job_ids):
        self.woken += job_ids
        self.wakes += 1

    def run(self, job):
        self.store.jobs[job.id] = replace(self.store.jobs[job.id], state=JobState.RUNNING, attempt=1)
        self.events.publish_change(job.id)

    def finish(self, job, state=JobState.DELIVERED):
        result = make_result() if state is JobState.DELIVERED else None
        self.store.jobs[job.id] = replace(self.store.jobs[job.id], state=state, result=result)
        self.events.publish_change(job.id)

    def measure_load(self, seconds):
        self.rates.add_measurement(
            Measurement(
                device="cpu", model="fox-diffusion", dtype="f", shape="", batch_size=1, what="load", seconds=seconds
            )
        )

    def measure(self, seconds, batch_size=1):
        self.rates.add_measurement(
            Measurement(
                device="cpu",
                model="fox-diffusion",
                dtype="f",
                shape="512x512",
                batch_size=batch_size,
                what="step",
                seconds=seconds,
            )
        )


@pytest.fixture
def harness():
    return Harness()


def make_request(prompt="a fox", **overrides):
    return Request(**{"origin": make_origin(), "command": "imagine", "options": {"prompt": prompt}, **overrides})


async def upload(harness, person=ANN, data=b"photo", width=640, height=320):
    await harness.media.add_upload(person.id, Media(data, "image/png"), width=width, height=height, parameters=None)
    return ImageRef(media_id(data))


# ---------------------------------------------------------------- asking


async def test_a_request_becomes_a_queued_job_with_every_option_filled_in(harness):
    (ticket,) = await harness.jobs.submit(ANN, make_request())

    job = ticket.job
    assert (job.state, job.owner, job.command, job.model) == (JobState.QUEUED, "ann", "imagine", "fox-diffusion")
    assert set(job.options) == {spec.name for spec in DRAWING} - {"size", "aspect", "strength", "style", "best"}
    assert job.cost == 10.0


async def test_the_dispatcher_is_woken_after_the_job_is_stored(harness):
    (ticket,) = await harness.jobs.submit(ANN, make_request())

    assert harness.woken == [ticket.job.id]
    assert ticket.job.id in harness.store.jobs


async def test_a_typed_line_is_read_with_its_flags(harness):
    (ticket,) = await harness.jobs.submit(ANN, make_request(options={}, line="a fox --steps 3"))

    assert (ticket.job.options["prompt"], ticket.job.options["steps"]) == ("a fox", 3)


async def test_a_seed_is_drawn_when_none_is_given(harness):
    seeds = {(await harness.jobs.submit(ANN, make_request()))[0].job.options["seed"] for _ in range(5)}

    assert len(seeds) == 5
    assert all(0 <= seed < 2**32 for seed in seeds)


async def test_a_stored_job_has_the_fields_for_search_and_delivery(harness):
    await harness.jobs.submit(ANN, make_request(wants_delivery=True, parent="abcd"))

    (new,) = harness.store.called("accept_jobs")[0].jobs
    assert (new.search_text, new.wants_delivery, new.parent, new.estimate_s) == ("a fox", True, "abcd", 10.0)


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (make_request(""), InvalidOption),
        (make_request("x" * 10_000), InvalidOption),
        (make_request(command="imagin"), UnknownCommand),
        (make_request(options={"prompt": "a fox", "model": "owl"}), InvalidOption),
        (make_request(images=(ImageRef("0" * 64),)), MediaNotFound),
        (make_request("{a|}"), InvalidOption),
        (make_request("{a|b|c|d|e}" * 3), InvalidOption),
    ],
)
async def test_what_cannot_be_done_is_refused_and_nothing_is_stored(harness, request_, refusal):
    with pytest.raises(refusal):
        await harness.jobs.submit(ANN, request_)

    assert not harness.store.called("accept_jobs")
    assert harness.woken == []


async def test_a_picture_of_somebody_else_is_refused(harness):
    image = await upload(harness, BOB)

    with pytest.raises(MediaNotFound):
        await harness.jobs.submit(ANN, make_request(images=(image,)))


async def test_a_picture_to_start_from_gives_its_aspect(harness):
    image = await upload(harness)

    (ticket,) = await harness.jobs.submit(ANN, make_request(images=(image,)))

    assert ticket.job.options["width"] > 1.9 * ticket.job.options["height"]
    assert ticket.job.images == (image,)


async def test_a_picture_to_start_from_is_a_reference_for_a_model_that_cannot_start_from_one(harness):
    image = await upload(harness)
    harness.models.add_model(make_model(name="klein", tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE)))
    harness.models.add_model(make_model(demo=True, tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE)))
    harness.people.stored["ann"] = {"strength": 0.5}

    (ticket,) = await harness.jobs.submit(ANN, make_request(images=(image,), use_defaults=True))

    job = ticket.job
    assert (job.command, job.task, job.model) == ("edit", IMAGE_TEXT_TO_IMAGE, "klein")
    assert "strength" not in job.options
    with pytest.raises(InvalidOption) as refused:
        await harness.jobs.submit(ANN, make_request(images=(image,), options={"prompt": "a fox", "strength": 0.3}))
    assert (refused.value.option, refused.value.problem) == ("strength", "model_lacks")


async def test_no_request_is_accepted_during_shutdown(harness):
    harness.jobs.is_closing = True

    with pytest.raises(ShuttingDown):
        await harness.jobs.submit(ANN, make_request())


async def test_an_accepted_job_is_not_refused_because_its_place_cannot_be_read(harness):
    harness.store.failures["queue_view"] = [StorageBusy()]

    (ticket,) = await harness.jobs.submit(ANN, make_request())

    assert (ticket.job.state, ticket.position, ticket.eta_s) == (JobState.QUEUED, None, None)


@pytest.mark.parametrize(
    ("person", "house_s", "limit"),
    [
        (make_person(), 600.0, 600.0),
        (make_person(), 0.0, None),
        (make_person(daily_s=5.0), 600.0, 5.0),
        (make_person(daily_s=0.0), 600.0, 0.0),
        (make_person(is_local=True), 600.0, None),
        (make_person(is_local=True, daily_s=5.0), 600.0, 5.0),
    ],
)
async def test_the_quota_is_the_persons_own_or_the_default(harness, person, house_s, limit):
    harness.quota = QuotaSettings(daily_device_seconds=house_s)

    await harness.build().submit(person, make_request())

    assert harness.store.called("accept_jobs")[0].limits.daily_s == limit


# ---------------------------------------------------------------- the same request twice


async def test_the_same_key_and_body_give_the_same_job(harness):
    (first,) = await harness.jobs.submit(ANN, make_request(), key="k")
    (again,) = await harness.jobs.submit(ANN, make_request(), key="k")

    assert first.job.id == again.job.id
    assert len(harness.store.jobs) == 1


async def test_the_same_key_with_another_body_is_refused(harness):
    await harness.jobs.submit(ANN, make_request(), key="k")

    with pytest.raises(IdempotencyConflict):
        await harness.jobs.submit(ANN, make_request("an owl"), key="k")


async def test_without_a_key_every_request_is_new(harness):
    await harness.jobs.submit(ANN, make_request())
    await harness.jobs.submit(ANN, make_request())

    assert len(harness.store.jobs) == 2


async def test_a_replay_gets_its_job_even_when_its_picture_and_model_are_gone(harness):
    image = await upload(harness)
    request = make_request(images=(image,), options={"prompt": "a fox", "model": "fox-diffusion"})
    (first,) = await harness.jobs.submit(ANN, request, key="k")
    harness.media.images.clear()
    harness.models._specs.clear()
    (again,) = await harness.jobs.submit(ANN, request, key="k")

    assert again.job.id == first.job.id
    with pytest.raises(IdempotencyConflict):
        await harness.jobs.submit(ANN, replace(request, options={"prompt": "an owl"}), key="k")
    with pytest.raises(MediaNotFound):
        await harness.jobs.submit(ANN, request, key="another")


async def test_a_replay_is_answered_during_shutdown(harness):
    (first,) = await harness.jobs.submit(ANN, make_request(), key="k")
    harness.jobs.is_closing = True

    assert [ticket.job.id for ticket in await harness.jobs.submit(ANN, make_request(), key="k")] == [first.job.id]


async def test_a_replay_of_an_erased_job_finds_nothing(harness):
    (first,) = await harness.jobs.submit(ANN, make_request(), key="k")
    del harness.store.jobs[first.job.id]

    with pytest.raises(JobNotFound):
        await harness.jobs.submit(ANN, make_request(), key="k")


async def test_a_used_quote_returns_its_jobs_even_without_its_model_but_only_to_its_person(harness):
    request = make_request("a {red|blue} fox")
    quote = (await harness.jobs.quote(ANN, request)).quote
    first = await harness.jobs.submit(ANN, request, quote=quote)
    harness.models._specs.clear()
    again = await harness.jobs.submit(ANN, request, quote=quote)

    assert [ticket.job.id for ticket in again] == [ticket.job.id for ticket in first]
    with pytest.raises(InvalidOption):
        await harness.jobs.submit(BOB, request, quote=quote)


@pytest.mark.parametrize("is_own", [True, False])
async def test_a_parent_must_be_an_own_job_where_only_own_jobs_are_visible(harness, is_own):
    parent = make_job(owner="bob")
    harness.store.add(parent)
    request = make_request(parent=parent.id, requires_own_parent=is_own)
    if is_own:
        with pytest.raises(JobNotFound):
            await harness.jobs.submit(ANN, request)
    else:
        (ticket,) = await harness.jobs.submit(ANN, request)
        assert ticket.job.parent == parent.id


# ---------------------------------------------------------------- one's own defaults


async def with_defaults(harness, options, image=None, **defaults):
    harness.people.stored["ann"] = defaults
    images = (image,) if image else ()
    request = make_request(options={"prompt": "a fox", **options}, images=images, use_defaults=True)
    (ticket,) = await harness.jobs.submit(ANN, request)
    return ticket.job.options


async def test_defaults_fill_in_missing_options(harness):
    filled = await with_defaults(harness, {"steps": 3}, steps=30, guidance_scale=2.5, aspect="2:1", count=2)

    assert (filled["steps"], filled["guidance_scale"], filled["count"]) == (3, 2.5, 2)
    assert filled["width"] > filled["height"]


async def test_defaults_are_only_applied_on_request(harness):
    harness.people.stored["ann"] = {"steps": 30}
    (ticket,) = await harness.jobs.submit(ANN, make_request())

    assert ticket.job.options["steps"] == 10


@pytest.mark.parametrize(
    ("defaults", "option", "value"),
    [
        ({"steps": 9999}, "steps", 10),
        ({"model": "gone"}, "model", "fox-diffusion"),
        ({"size": "77x77"}, "width", 512),
        ({"strength": 0.3}, "count", 1),
        ({"model": "gone", "steps": 9999, "size": "1x1", "count": 3}, "count", 3),
    ],
)
async def test_defaults_that_do_not_fit_are_left_out(harness, defaults, option, value):
    assert (await with_defaults(harness, {}, **defaults))[option] == value


@pytest.mark.parametrize("given", [{"size": "256x256"}, {"aspect": "1:1"}, {"width": 256, "height": 256}])
async def test_a_given_size_overrides_every_default_of_size(harness, given):
    filled = await with_defaults(harness, given, aspect="4:1")

    assert filled["width"] == filled["height"]


async def test_a_picture_to_start_from_keeps_its_aspect_whatever_the_defaults(harness):
    filled = await with_defaults(harness, {}, image=await upload(harness), size="512x512", strength=0.25)

    assert filled["width"] > 1.9 * filled["height"]
    assert filled["strength"] == 0.25


async def test_an_invalid_option_is_refused_despite_the_defaults(harness):
    with pytest.raises(InvalidOption) as refused:
        await with_defaults(harness, {"steps": 9999}, steps=20)

    assert refused.value.option == "steps"


def test_a_body_has_one_hash_whatever_the_order_of_its_options():
    one = make_request(options={"prompt": "a fox", "steps": 3})
    other = make_request(options={"steps": 3, "prompt": "a fox"})

    assert body_hash(one) == body_hash(other)


@pytest.mark.parametrize(
    "overrides",
    [
        {"options": {"prompt": "a fox", "steps": 3}},
        {"options": {}, "line": "a fox"},
        {"command": "ask"},
        {"images": (ImageRef("0"),)},
        {"images": (ImageRef("0", "mask"),)},
        {"parent": "abcd"},
    ],
)
def test_another_body_has_another_hash(overrides):
    assert body_hash(make_request(**overrides)) != body_hash(make_request())


def test_where_a_request_came_from_is_no_part_of_its_body():
    assert body_hash(make_request(origin=make_origin(message_id="9"))) == body_hash(make_request())


@pytest.mark.parametrize("value", [float("nan"), 10**400, "\ud800", [1, {"a": None}], None])
def test_any_body_has_a_hash(value):
    assert len(body_hash(make_request(options={"prompt": value}))) == 64


# ---------------------------------------------------------------- quotes and batches


async def test_a_quote_has_count_cost_and_time_and_stores_nothing(harness):
    harness.devices = [make_device("cuda:0"), make_device("cuda:1")]

    quote = await harness.jobs.quote(ANN, make_request("a {red|blue|green} fox"))

    assert (quote.jobs, quote.cost, quote.eta_s) == (3, 30.0, 15.0)
    assert not harness.store.called("accept_jobs")


async def test_several_combinations_without_a_quote_are_refused_with_their_number(harness):
    with pytest.raises(InvalidOption) as refused:
        await harness.jobs.submit(ANN, make_request("a {red|blue} fox"))

    assert (refused.value.problem, refused.value.value) == ("needs_quote", 2)


async def test_in_a_chat_several_combinations_are_confirmed_with_a_word(harness):
    wanted = {"wants_delivery": True}
    with pytest.raises(InvalidOption) as refused:
        await harness.jobs.submit(ANN, make_request("a {red|blue} fox", **wanted))
    tickets = await harness.jobs.submit(ANN, make_request("a {red|blue} fox", **wanted, is_confirmed=True))

    assert "makes 2 pictures and uses 20 device-seconds" in explain(refused.value)
    assert [ticket.job.options["prompt"] for ticket in tickets] == ["a red fox", "a blue fox"]


async def test_confirmed_combinations_become_one_batch(harness):
    request = make_request("a {red|blue} fox")
    quote = await harness.jobs.quote(ANN, request)

    tickets = await harness.jobs.submit(ANN, request, quote=quote.quote)

    assert [ticket.job.options["prompt"] for ticket in tickets] == ["a red fox", "a blue fox"]
    assert len({ticket.job.batch for ticket in tickets}) == 1
    assert len({ticket.job.options["seed"] for ticket in tickets}) == 1
    assert len(harness.store.called("accept_jobs")) == 1


async def test_each_combination_draws_its_wildcards_and_has_its_style(harness, tmp_path):
    (tmp_path / "animal.txt").write_text("fox\ncat\nowl\n")
    harness.wording = PromptResolver(
        styles={"ink": StyleSettings(prompt="ink {prompt}")}, wildcards=WildcardFolder(tmp_path)
    )
    harness.jobs = harness.build()
    request = make_request("a {red|blue} __animal__", is_confirmed=True, options={
        "prompt": "a {red|blue} __animal__", "style": "ink", "seed": 7, "count": 3,
    })  # fmt: skip
    tickets = await harness.jobs.submit(ANN, request)

    first, second = (ticket.job.options for ticket in tickets)
    assert [prompt.replace("red", "blue") for prompt in first["prompts"]] == second["prompts"]
    assert first["prompt"] == first["prompts"][0]
    assert first["prompt"].startswith("ink a red ")
    assert first["asked"]["prompt"] == "a red __animal__"


async def test_what_is_drawn_is_judged_before_it_is_accepted(harness, tmp_path):
    (tmp_path / "food.txt").write_text("broccoli\n")
    harness.wording = PromptResolver(wildcards=WildcardFolder(tmp_path))
    harness.moderation = moderated("broccoli")
    harness.jobs = harness.build()

    for prompt in ("a __food__", "a (broc)(coli:1.2)"):
        with pytest.raises(Blocked):
            await harness.jobs.submit(ANN, make_request(prompt))
    assert not harness.store.jobs


def moderated(*words):
    """Only texts are checked."""
    nothing: Any = None
    here: Any = FakeClassifierAvailability()
    rules = SafetySettings(blocked_words=words)
    return Moderation(spaces=nothing, people=nothing, classifier=here, settings=rules, words=BlockedWords(words))


async def test_one_job_needs_no_batch(harness):
    (ticket,) = await harness.jobs.submit(ANN, make_request())

    assert ticket.job.batch is None


async def test_a_quoted_price_is_kept_though_measurements_change_it(harness):
    request = make_request("a {red|blue} fox")
    quote = await harness.jobs.quote(ANN, request)
    harness.measure(99.0)

    tickets = await harness.jobs.submit(ANN, request, quote=quote.quote)

    assert sum(ticket.job.cost for ticket in tickets) == quote.cost == 20.0


async def test_a_quote_is_used_once(harness):
    request = make_request("a {red|blue} fox")
    quote = (await harness.jobs.quote(ANN, request)).quote

    first = await harness.jobs.submit(ANN, request, quote=quote)
    again = await harness.jobs.submit(ANN, request, quote=quote)

    assert [ticket.job.id for ticket in first] == [ticket.job.id for ticket in again]
    assert len(harness.store.jobs) == 2


async def test_the_same_combinations_can_be_asked_for_again_with_a_new_quote(harness):
    request = make_request("a {red|blue} fox")
    for _ in range(2):
        quote = (await harness.jobs.quote(ANN, request)).quote
        await harness.jobs.submit(ANN, request, quote=quote)

    assert len(harness.store.jobs) == 4


@pytest.mark.parametrize("quote", ["", "-", "---", "nonsense", "\u00fc", "\ud83e\udd8a", "0" * 10_000, "a-9e9-0-b"])
async def test_an_invented_quote_is_refused(harness, quote):
    with pytest.raises(InvalidOption) as refused:
        await harness.jobs.submit(ANN, make_request("a {red|blue} fox"), quote=quote)

    assert (refused.value.option, refused.value.problem) == ("quote", "quote")


async def test_a_quote_for_less_than_was_signed_is_refused(harness):
    request = make_request("a {red|blue} fox")
    quote = (await harness.jobs.quote(ANN, request)).quote

    with pytest.raises(InvalidOption):
        await harness.jobs.submit(ANN, request, quote=quote.replace("20.000", "0.001"))


@pytest.mark.parametrize(
    ("person", "prompt", "secret"),
    [
        (BOB, "a {red|blue} fox", b"secret"),
        (ANN, "a {red|green} fox", b"secret"),
        (ANN, "a {red|blue} fox", b"other"),
    ],
    ids=["another person", "another request", "another harness"],
)
async def test_a_quote_counts_only_where_it_was_given(harness, person, prompt, secret):
    quote = (await harness.jobs.quote(ANN, make_request("a {red|blue} fox"))).quote

    with pytest.raises(InvalidOption):
        await harness.build(secret).submit(person, make_request(prompt), quote=quote)


async def test_an_old_quote_is_refused(harness, monkeypatch):
    request = make_request("a {red|blue} fox")
    quote = (await harness.jobs.quote(ANN, request)).quote
    monkeypatch.setattr(usecases_jobs, "time", SimpleNamespace(time=lambda: 4e9))

    with pytest.raises(InvalidOption):
        await harness.jobs.submit(ANN, request, quote=quote)


# ---------------------------------------------------------------- watching


async def test_a_queued_job_has_a_place_and_a_time(harness):
    harness.store.view = replace(
        harness.store.view, own_ahead=2, person=FairShareLane(vtime=0.0, backlog=3), mean_s=10.0
    )

    (ticket,) = await harness.jobs.submit(ANN, make_request())

    assert (ticket.position, ticket.eta_s) == (3, 30.0)


async def test_a_running_job_has_the_time_that_its_steps_leave(harness):
    job = make_job(state=JobState.RUNNING, options={**make_job().options, "steps": 10})
    harness.store.add(job)
    harness.events.publish_progress(job.id, STEP)

    ticket = await harness.jobs.get_ticket(ANN, job.id)

    assert (ticket.position, ticket.eta_s, ticket.progress) == (None, 7.5, STEP)


async def test_a_running_job_takes_longer_beside_others(harness):
    harness.models.set_capabilities("fox-diffusion", {"rows": 8})
    harness.devices = [make_device(running=4, slots=16)]
    harness.measure(1.0)
    harness.measure(1.6, batch_size=4)
    job = make_job(state=JobState.RUNNING, options={**make_job().options, "steps": 10})
    harness.store.add(job)
    harness.events.publish_progress(job.id, STEP)

    assert (await harness.jobs.get_ticket(ANN, job.id)).eta_s == 1.6 * 7.5


async def test_a_queued_job_with_a_free_slot_only_takes_its_own_duration(harness):
    harness.models.set_capabilities("fox-diffusion", {"rows": 8})
    harness.devices = [make_device(running=3, slots=16)]
    harness.measure(1.0)
    harness.measure(1.5, batch_size=4)
    harness.store.view = replace(harness.store.view, running=3)

    (ticket,) = await harness.jobs.submit(ANN, make_request())

    assert (ticket.position, ticket.eta_s) == (1, 15.0)


async def test_a_quote_knows_that_a_persons_jobs_share_passes(harness):
    harness.models.set_capabilities("fox-diffusion", {"rows": 8})
    harness.devices = [make_device(slots=16)]
    harness.measure(1.0)
    harness.measure(1.2, batch_size=2)

    quote = await harness.jobs.quote(ANN, make_request("a {red|blue|green|grey} fox"))

    assert (quote.cost, quote.eta_s) == (40.0, 16.0)  # all four in one pass of 1.6 s


async def test_every_forecast_counts_loading_a_model_that_no_device_has_loaded(harness):
    harness.devices = [make_device(loaded=(), has_imported=True)]
    harness.measure_load(20.0)

    (ticket,) = await harness.jobs.submit(ANN, make_request())
    quote = await harness.jobs.quote(ANN, make_request())

    assert (ticket.eta_s, quote.eta_s, quote.cost) == (30.0, 30.0, 10.0)


@pytest.mark.parametrize(
    ("devices", "eta_s"),
    [
        ([{"loaded": ()}], 10.0 + IMPORT_S + LOAD_START_S),
        ([{"loaded": (), "has_imported": True}], 10.0 + LOAD_START_S),
        ([{"loaded": ()}, {"name": "cuda:1", "loaded": (), "has_imported": True}], 10.0 + LOAD_START_S),
        ([{"loaded": (), "loading": "fox-diffusion", "load_s": 2.0}], 12.0),
        ([{"loaded": (), "loading": "other", "load_s": 2.0}], 10.0 + 2.0 + LOAD_START_S),
        ([{"loaded": ()}, {"name": "cuda:1"}], 10.0),
        ([], 10.0 + IMPORT_S + LOAD_START_S),  # the hardware is being probed
    ],
)
async def test_the_forecast_of_a_load_that_was_never_measured_or_is_under_way(harness, devices, eta_s):
    harness.devices = [make_device(**device) for device in devices]

    (ticket,) = await harness.jobs.submit(ANN, make_request())

    assert ticket.eta_s == eta_s


@pytest.mark.parametrize(
    ("command", "options", "counts_load"),
    [
        ("preview", {"what": "control", "kind": "canny", "width": 8, "height": 8}, False),
        ("upscale", {"method": "resize", "width": 8, "height": 8}, False),
        ("preview", {"what": "control", "kind": "depth"}, True),
    ],
)
async def test_the_forecast_of_a_job_without_a_model_counts_no_load(harness, command, options, counts_load):
    harness.devices = [make_device(loaded=(), has_imported=True)]
    harness.measure_load(20.0)
    job = make_job(command=command, options=options, images=(ImageRef("0" * 64),))
    harness.store.add(job)

    ticket = await harness.jobs.get_ticket(ANN, job.id)

    assert (ticket.eta_s > 20) is counts_load


@pytest.mark.parametrize(
    ("progress", "eta_s"),
    [
        (Progress(step=0, steps=4, phase="loading", load_s=12.0), 22.0),
        (Progress(step=0, steps=4, phase="loading"), None),
        (Progress(step=0, steps=4, phase="waiting"), None),
    ],
)
async def test_a_job_whose_model_loads_has_the_time_of_the_load_too(harness, progress, eta_s):
    job = make_job(state=JobState.RUNNING, options={**make_job().options, "steps": 10})
    harness.store.add(job)
    harness.events.publish_progress(job.id, progress)

    ticket = await harness.jobs.get_ticket(ANN, job.id)

    assert (ticket.eta_s, ticket.progress.phase) == (eta_s, progress.phase)


def test_the_last_step_is_followed_by_finishing():
    assert [Progress(step=step, steps=2).phase for step in (0, 1, 2)] == ["running", "running", "finishing"]


async def test_time_left_is_never_below_nothing(harness):
    job = make_job(state=JobState.RUNNING)
    harness.store.add(job)
    harness.events.publish_progress(job.id, Progress(step=9, steps=4))

    assert (await harness.jobs.get_ticket(ANN, job.id)).eta_s == 0.0


async def test_a_finished_job_has_neither_place_nor_time(harness):
    job = make_job(state=JobState.DELIVERED, result=make_result())
    harness.store.add(job)

    ticket = await harness.jobs.get_ticket(ANN, job.id)

    assert (ticket.position, ticket.eta_s, ticket.progress) == (None, None, None)


async def test_somebody_elses_job_is_not_found(harness):
    job = make_job()
    harness.store.add(job)

    with pytest.raises(JobNotFound):
        await harness.jobs.get_ticket(BOB, job.id)


async def test_a_page_holds_ones_own_jobs(harness):
    mine, other = make_job(), make_job(owner="bob")
    harness.store.add(mine, other)

    tickets, following = await harness.jobs.list_tickets(ANN)

    assert [ticket.job.id for ticket in tickets] == [mine.id]
    assert following is None


async def kinds(harness, job, person=ANN):
    return [(event.kind, event.ticket.job.state) async for event in harness.jobs.follow_job(person, job.id)]


async def test_a_follower_of_a_finished_job_gets_its_state_and_its_result(harness):
    job = make_job(state=JobState.DELIVERED, result=make_result())
    harness.store.add(job)

    assert await kinds(harness, job) == [("state", JobState.DELIVERED), ("result", JobState.DELIVERED)]


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.DEAD, JobState.CANCELLED])
async def test_a_follower_of_a_job_that_ended_badly_gets_an_error(harness, state):
    job = make_job(state=state)
    harness.store.add(job)

    assert await kinds(harness, job) == [("state", state), ("error", state)]


async def test_a_follower_sees_every_state_and_then_the_result(harness):
    job = make_job()
    harness.store.add(job)
    following = asyncio.create_task(kinds(harness, job))
    await eventually(lambda: harness.events.is_watched(job.id))
    await asyncio.sleep(0.005)

    harness.run(job)
    await asyncio.sleep(0.005)
    harness.events.publish_progress(job.id, STEP)
    await asyncio.sleep(0.005)
    harness.finish(job)

    assert await following == [
        ("state", JobState.QUEUED),
        ("state", JobState.RUNNING),
        ("progress", JobState.RUNNING),
        ("result", JobState.DELIVERED),
    ]
    assert not harness.events.is_watched(job.id)


async def test_a_job_that_ends_between_the_two_queries_is_not_missed(harness):
    job = make_job()
    harness.store.add(job)
    first_look = harness.store.gates["get_job"] = asyncio.Event()
    following = asyncio.create_task(kinds(harness, job))
    await eventually(lambda: harness.store.called("get_job"))

    harness.finish(job)
    first_look.set()

    async with asyncio.timeout(20):
        assert await following == [("state", JobState.DELIVERED), ("result", JobState.DELIVERED)]


async def test_a_job_that_ends_during_the_second_look_is_not_missed(harness):
    job = make_job()
    harness.store.add(job)
    harness.store.gates["get_job"] = asyncio.Event()
    harness.store.gates["get_job"].set()
    following = asyncio.create_task(kinds(harness, job))
    await eventually(lambda: harness.events.is_watched(job.id))

    harness.finish(job)

    async with asyncio.timeout(20):
        assert (await following)[-1] == ("result", JobState.DELIVERED)


async def test_progress_comes_at_most_twice_a_second_and_the_latest_wins(harness, monkeypatch):
    monkeypatch.setattr(usecases_jobs, "PREVIEW_INTERVAL_S", 0.03)
    job = make_job(state=JobState.RUNNING)
    harness.store.add(job)
    seen = []

    async def follow():
        async for event in harness.jobs.follow_job(ANN, job.id):
            seen.append(event.ticket.progress)

    following = asyncio.create_task(follow())
    await eventually(lambda: seen)
    for number in range(1, 5):
        harness.events.publish_progress(job.id, Progress(step=number, steps=4))
        await asyncio.sleep(0.005)
    await eventually(lambda: len(seen) == 3)
    harness.finish(job)
    await following

    assert [progress.step for progress in seen if progress] == [1, 4]


async def test_a_result_does_not_wait_for_the_next_preview(harness, monkeypatch):
    monkeypatch.setattr(usecases_jobs, "PREVIEW_INTERVAL_S", 60.0)
    job = make_job(state=JobState.RUNNING)
    harness.store.add(job)
    following = asyncio.create_task(kinds(harness, job))
    await eventually(lambda: harness.events.is_watched(job.id))
    harness.events.publish_progress(job.id, STEP)
    await asyncio.sleep(0.005)

    harness.finish(job)

    async with asyncio.timeout(20):
        assert (await following)[-1][0] == "result"


async def test_a_late_follower_starts_with_the_latest_progress(harness):
    job = make_job(state=JobState.RUNNING)
    harness.store.add(job)
    harness.events.publish_progress(job.id, STEP)

    async with aclosing(harness.jobs.follow_job(ANN, job.id)) as events:
        first, second = await anext(events), await anext(events)

    assert (first.kind, first.ticket.progress, second.kind) == ("state", STEP, "progress")


async def test_a_follower_that_leaves_is_no_longer_watching(harness):
    job = make_job()
    harness.store.add(job)

    async with aclosing(harness.jobs.follow_job(ANN, job.id)) as events:
        await anext(events)

    assert not harness.events.is_watched(job.id)


async def test_following_somebody_elses_job_fails_before_the_first_event(harness):
    job = make_job()
    harness.store.add(job)

    with pytest.raises(JobNotFound):
        await kinds(harness, job, BOB)

    assert not harness.events.is_watched(job.id)


async def test_waiting_gives_the_finished_job(harness):
    job = make_job()
    harness.store.add(job)
    waiting = asyncio.create_task(harness.jobs.wait_for_job(ANN, job.id))
    await eventually(lambda: harness.events.is_watched(job.id))

    harness.finish(job)

    assert (await waiting).state is JobState.DELIVERED


# ---------------------------------------------------------------- cancelling


async def test_a_queued_job_is_cancelled_immediately(harness):
    job = make_job()
    harness.store.add(job)
    following = asyncio.create_task(kinds(harness, job))
    await eventually(lambda: harness.events.is_watched(job.id))

    ticket = await harness.jobs.cancel_job(ANN, job.id)

    assert (ticket.job.state, ticket.job.cancel_requested) == (JobState.CANCELLED, True)
    assert (await following)[-1] == ("error", JobState.CANCELLED)
    assert harness.interrupted == []


async def test_the_chat_is_notified_immediately_of_a_cancelled_queued_job(harness):
    job = make_job()
    harness.store.add(job)

    await harness.jobs.cancel_job(ANN, job.id)

    assert harness.wakes == 1


async def test_a_running_job_is_interrupted(harness):
    job = make_job(state=JobState.RUNNING)
    harness.store.add(job)

    ticket = await harness.jobs.cancel_job(ANN, job.id)

    assert (ticket.job.state, ticket.job.cancel_requested) == (JobState.RUNNING, True)
    assert harness.interrupted == [job.id]


async def test_a_finished_job_cannot_be_cancelled(harness):
    job = make_job(state=JobState.RENDERED)
    harness.store.add(job)

    with pytest.raises(NotCancellable):
        await harness.jobs.cancel_job(ANN, job.id)


async def test_somebody_elses_job_cannot_be_cancelled(harness):
    job = make_job()
    harness.store.add(job)

    with pytest.raises(JobNotFound):
        await harness.jobs.cancel_job(BOB, job.id)

    assert harness.store.state(job) is JobState.QUEUED


async def test_jobs_can_be_cancelled_during_shutdown(harness):
    job = make_job()
    harness.store.add(job)
    harness.jobs.is_closing = True

    assert (await harness.jobs.cancel_job(ANN, job.id)).job.state is JobState.CANCELLED


# ---------------------------------------------------------------- many texts


async def test_many_texts_are_judged_off_the_event_loop_and_one_at_once(harness):
    harness.moderation = moderated("broccoli")
    harness.jobs = harness.build()
    judged_in = []
    find_reason = harness.moderation.words.find_reason

    class Recording:
        def find_reason(self, text):
            judged_in.append(threading.current_thread())
            return find_reason(text)

    harness.moderation.words = Recording()
    await harness.jobs.quote(ANN, make_request("a fox"))
    assert set(judged_in) == {threading.current_thread()}

    judged_in.clear()
    await harness.jobs.quote(ANN, make_request("{a|b|c|d}{a|b|c|d} fox " + "in the snow " * 80))
    assert threading.current_thread() not in judged_in

    with pytest.raises(Blocked):
        await harness.jobs.quote(ANN, make_request("{a|b|c|d}{a|b|c|d} (broc)coli " + "in the snow " * 80))


async def test_sixty_quotes_full_of_wildcards_list_the_folder_once_and_delay_nobody(harness, tmp_path, monkeypatch):
    (tmp_path / "animal.txt").write_text("fox\ncat\nowl\n")
    listed = []

    def list_files(_folder):
        listed.append(1)
        return {"animal": tmp_path / "animal.txt"}

    monkeypatch.setattr(WildcardFolder, "_list_files", list_files)
    harness.wording = PromptResolver(wildcards=WildcardFolder(tmp_path))
    harness.jobs = harness.build()
    heavy = make_request("{a|b} " + "__animal__ " * 39, options={"prompt": "{a|b} " + "__animal__ " * 39, "count": 4})
    flood = [asyncio.create_task(harness.jobs.quote(ANN, heavy)) for _ in range(60)]
    await asyncio.sleep(0)

    await harness.jobs.quote(BOB, make_request("an __animal__"))

    assert sum(task.done() for task in flood) < 10
    assert len(await asyncio.gather(*flood)) == 60
    assert len(listed) <= 3  # once a second
