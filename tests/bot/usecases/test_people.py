"""People: hashed API keys, and the daily quota."""

import hashlib
import hmac
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from bot.errors import InvalidOption, NotFound, Unauthorized
from bot.jobs import JobState
from bot.models import ModelRegistry
from bot.ports import ApiKey, Usage
from bot.usecases import people as people_module
from bot.usecases.people import PeopleUseCases, next_day
from tests.fakes import NOON, FakeJobStore, FakePeople, FakePrivacy, make_job, make_model, make_person


class KeyPeople(FakePeople):
    def __init__(self):
        super().__init__()
        self.keys = {}
        self.looked_up = []

    async def identify_account(self, platform, account_id, name):
        return make_person(id=f"{platform}-{account_id}", name=name)

    async def local_person(self):
        return make_person(id="local", name="You", is_local=True, is_admin=True)

    async def person_named(self, name):
        return make_person(id=name.casefold(), name=name)

    async def add_key(self, prefix, secret_hash, person, is_admin, name=None):
        key = ApiKey(prefix=prefix, person=person, is_admin=is_admin, created_at=NOON)
        self.keys[prefix] = (key, secret_hash)
        return key

    async def find_key(self, prefix):
        self.looked_up.append(prefix)
        return self.keys.get(prefix)

    async def has_keys(self):
        return bool(self.keys)

    async def is_locked(self):
        return bool(self.keys)

    async def unlock(self):
        return len(self.keys)

    async def list_keys(self):
        return [key for key, _ in self.keys.values()]

    async def revoke_key(self, prefix):
        if prefix not in self.keys:
            raise NotFound("key", prefix)
        key, _ = self.keys.pop(prefix)
        return key


class FakeLedger:
    def __init__(self):
        self.asked = []

    async def daily_usage(self, person_id, day):
        self.asked.append((person_id, day))
        return Usage(used=3.0, reserved=2.0)


@pytest.fixture
def people():
    return KeyPeople()


@pytest.fixture
def ledger():
    return FakeLedger()


@pytest.fixture
def usecases(people, ledger, privacy, stopped, searchers):
    models = ModelRegistry({"fox": make_model(max_steps=50)})
    return PeopleUseCases(people, ledger, privacy, models, stopped.extend, searchers.update)


@pytest.fixture
def stopped():
    """The jobs that were running when their owner was forgotten."""
    return []


@pytest.fixture
def searchers():
    """Whose searches are not in memory any more."""
    return set()


@pytest.fixture
def store():
    return FakeJobStore()


@pytest.fixture
def privacy(store):
    return FakePrivacy(store)


async def test_a_key_lets_its_person_in(usecases):
    made, text = await usecases.create_key("Ann", is_admin=False)

    person, key = await usecases.authenticate(text)

    assert (person.name, key) == ("Ann", made)


async def test_a_key_without_a_name_is_the_local_persons(usecases):
    key, _ = await usecases.create_key(None, is_admin=True)

    assert key.person.is_local
    assert key.is_admin


async def test_only_the_hash_of_a_secret_is_stored(usecases, people):
    key, text = await usecases.create_key("Ann", is_admin=False)

    prefix, secret = text.split(".")
    assert people.keys == {prefix: (key, hashlib.sha256(secret.encode()).hexdigest())}
    assert secret not in repr(people.keys)


async def test_a_secret_has_256_random_bits(usecases):
    texts = {(await usecases.create_key("Ann", is_admin=False))[1] for _ in range(20)}

    assert len(texts) == 20
    assert all(len(text.split(".")[1]) == 43 for text in texts)


@pytest.mark.parametrize(
    "mangle",
    [
        lambda text: text + "x",
        lambda text: text[:-1],
        lambda text: "00000000." + text.split(".")[1],
        lambda text: text.split(".")[0],
        lambda text: text.split(".")[0] + ".",
        lambda text: text.replace(".", " "),
        lambda text: text.upper(),
        lambda text: "",
        lambda text: ".",
        lambda text: "\ud800.\ud800",
        lambda text: "\0.\0",
        lambda text: "x" * 100_000,
    ],
)
async def test_anything_but_the_whole_key_is_refused(usecases, mangle):
    _, text = await usecases.create_key("Ann", is_admin=False)

    with pytest.raises(Unauthorized):
        await usecases.authenticate(mangle(text))


@pytest.mark.parametrize("prefix", ["\ud800", "\0", "x" * 100_000, "%", ""])
async def test_the_database_is_only_asked_for_what_may_be_a_prefix(usecases, people, prefix):
    with pytest.raises(Unauthorized):
        await usecases.authenticate(f"{prefix}.secret")

    assert people.looked_up == []


@pytest.mark.parametrize("prefix", ["00000000", "nobody"])
async def test_secrets_are_compared_in_constant_time_even_for_unknown_keys(usecases, monkeypatch, prefix):
    compared = []

    def compare(*sides):
        compared.append(sides)
        return hmac.compare_digest(*sides)

    monkeypatch.setattr(people_module, "hmac", SimpleNamespace(compare_digest=compare))

    with pytest.raises(Unauthorized):
        await usecases.authenticate(f"{prefix}.secret")

    assert [len(a) == len(b) == 64 for a, b in compared] == [True]


async def test_the_dummy_secret_of_unknown_keys_gives_no_access(usecases):
    with pytest.raises(Unauthorized):
        await usecases.authenticate("00000000.nobody")


@pytest.mark.parametrize(("name", "problem"), [("", "empty"), (" \u200b", "empty"), ("x" * 61, "long")])
async def test_a_name_that_is_none_is_refused(usecases, name, problem):
    with pytest.raises(InvalidOption) as refused:
        await usecases.create_key(name, is_admin=False)

    assert refused.value.problem == problem


async def test_a_name_is_cleaned(usecases):
    key, _ = await usecases.create_key(" A\u202enn ", is_admin=False)

    assert key.person.name == "Ann"


async def test_the_quota_is_that_of_the_utc_day(usecases, ledger):
    quota = await usecases.get_quota(make_person(), 600.0)

    assert (quota.limit, quota.used, quota.reserved) == (600.0, 3.0, 2.0)
    assert ledger.asked == [("ann", datetime.now(UTC).date().isoformat())]
    assert (quota.resets_at.hour, quota.resets_at.tzinfo) == (0, UTC)


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime(2026, 2, 28, 0, 0, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        (datetime.fromisoformat("2026-01-02T00:30:00+02:00"), datetime(2026, 1, 2, tzinfo=UTC)),
    ],
)
def test_a_day_ends_at_midnight_utc(now, then):
    assert next_day(now) == then


# ---------------------------------------------------------------- chats


async def test_a_chats_person_has_a_clean_and_short_name(usecases):
    person = await usecases.identify_account("discord", "7", " A\u202enn" + "x" * 100)

    assert (person.id, len(person.name), person.name[:4]) == ("discord-7", 60, "Annx")


async def test_defaults_are_checked_like_the_options_that_they_stand_for(usecases):
    ann = make_person()
    await usecases.set_default(ann, "guidance", "3.5")
    await usecases.set_default(ann, "steps", "30")
    kept = await usecases.set_default(ann, "NEGATIVE", " fog ")

    assert kept == {"steps": 30, "guidance_scale": 3.5, "negative_prompt": "fog"}
    assert await usecases.clear_default(ann, "guidance") == {"steps": 30, "negative_prompt": "fog"}
    assert await usecases.get_defaults(make_person(id="ben")) == {}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("steps", "many", "type"),
        ("steps", 51, "range"),
        ("count", 99, "range"),
        ("model", "owl", "choice"),
        ("size", "7x7", "range"),
        ("aspect", "wide", "type"),
        ("negative", " ", "no_value"),
        ("prompt", "a fox", "unknown"),
        ("seed", 7, "unknown"),
        ("stpes", 7, "unknown"),
    ],
)
async def test_a_default_that_is_none_is_refused(usecases, people, name, value, problem):
    with pytest.raises(InvalidOption) as refused:
        await usecases.set_default(make_person(), name, value)

    assert refused.value.problem == problem
    assert not people.stored["ann"]


async def test_the_model_that_programs_select_is_no_default_of_chats(usecases):
    ann = make_person()
    await usecases.set_checkpoint(ann, "fox-diffusion")

    assert await usecases.get_checkpoint(ann) == "fox-diffusion"
    assert await usecases.get_checkpoint(make_person(id="ben")) == ""
    assert await usecases.get_defaults(ann) == {}
    with pytest.raises(InvalidOption):
        await usecases.set_checkpoint(ann, "owl")


async def test_a_strength_can_be_a_default_without_a_picture(usecases):
    assert await usecases.set_default(make_person(), "strength", 0.4) == {"strength": 0.4}


async def test_a_size_and_an_aspect_take_each_others_place(usecases):
    ann = make_person()
    await usecases.set_default(ann, "size", "256x256")
    first = await usecases.set_default(ann, "aspect", "3:2")
    second = await usecases.set_default(ann, "size", "256x256")

    assert (first, second) == ({"aspect": "3:2"}, {"size": "256x256"})


async def test_forgetting_somebody_stops_what_runs_for_them(usecases, store, stopped, searchers):
    running, waiting = make_job(state=JobState.RUNNING), make_job()
    store.add(running, waiting, make_job(owner="ben"))
    await usecases.forget_person(make_person())

    assert stopped == [running]
    assert searchers == {"ann"}
    assert [job.owner for job in store.jobs.values()] == ["ben"]


async def test_keys_are_listed_until_they_are_revoked(usecases):
    before = await usecases.has_keys()
    key, _ = await usecases.create_key("Ann", is_admin=False)

    assert (before, await usecases.has_keys()) == (False, True)
    assert await usecases.list_keys() == [key]
    assert await usecases.revoke_key(key.prefix) == key
    assert await usecases.list_keys() == []


async def test_an_unknown_key_cannot_be_revoked(usecases):
    with pytest.raises(NotFound):
        await usecases.revoke_key("abcd")
