"""What admins do over REST, and what nobody else may: people, keys, quotas, the queue, reports, figures, incidents."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "/api/v1/admin"
ROUTES = (
    ("GET", "/people", None),
    ("PUT", "/people/somebody/quota", {"limit": 5}),
    ("GET", "/keys", None),
    ("POST", "/keys", {"person": "Eve", "admin": True}),
    ("DELETE", "/keys/00000000", None),
    ("GET", "/jobs", None),
    ("DELETE", "/jobs/aaaabbbbccccdddd", None),
    ("GET", "/reports", None),
    ("GET", "/reports/1/pictures/1", None),
    ("DELETE", "/reports/1", {"action": "delete"}),
    ("GET", "/blocked", None),
    ("GET", "/incidents?code=0123abcd", None),
    ("GET", "/devices", None),
    ("GET", "/metrics", None),
    ("GET", "/storage", None),
    ("GET", "/settings", None),
)
SECRET_WORDS = "a heron nobody knows"


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


async def ask(client, method, path, key, body=None):
    return await client.request(method, f"{ADMIN}{path}", json=body, headers=bearer(key))


async def imagine(client, key, prompt, **options):
    wanted = {"command": "imagine", "options": {"prompt": prompt, "model": "paint", "steps": 3, **options}}
    answer = await client.post("/api/v1/jobs", json=wanted, headers=bearer(key))
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def wait_for_end(client, key, job_id):
    async with asyncio.timeout(30):
        while True:
            body = (await client.get(f"/api/v1/jobs/{job_id}", headers=bearer(key))).json()
            if body["state"] not in ("queued", "running"):
                return body
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture(loop_scope="module")
async def keys(server):
    """An admin's key that is not the local person's, and another person's."""
    people = server.usecases.people
    _, admin = await people.create_key("Olga", is_admin=True)
    return admin, await server.create_key("Ann")


async def test_only_admins_reach_any_of_it_by_key_or_session(client, keys):
    _, ann = keys
    session = await client.post("/api/v1/session", json={"key": ann})
    cookies = dict(session.cookies)
    client.cookies.clear()
    for method, path, body in ROUTES:
        by_key = await ask(client, method, path, ann, body)
        by_nothing = await client.request(method, f"{ADMIN}{path}", json=body)
        headers = {"X-Easel": "1", "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        by_session = await client.request(method, f"{ADMIN}{path}", json=body, headers=headers)

        assert (by_key.status_code, by_key.json()["code"]) == (403, "forbidden"), path
        assert (by_session.status_code, by_session.json()["code"]) == (403, "forbidden"), path
        assert by_nothing.status_code == 401, path


async def test_people_are_found_with_their_usage_and_keys(client, server, keys):
    admin, ann = keys
    await server.usecases.people.identify_account("discord", "4711", "Ben 100%_")
    await wait_for_end(client, ann, await imagine(client, ann, SECRET_WORDS))
    everybody = (await ask(client, "GET", "/people", admin)).json()
    by_name = (await ask(client, "GET", "/people?q=ann", admin)).json()
    by_account = (await ask(client, "GET", "/people?q=4711", admin)).json()
    by_sign = (await ask(client, "GET", "/people?q=0%25_", admin)).json()

    [row] = by_name["people"]
    assert (row["name"], row["jobs"], row["limit"], row["own_limit"]) == ("Ann", 1, 5.0, None)
    quota = (await client.get("/api/v1/quota", headers=bearer(ann))).json()
    assert row["used"] == quota["used"] + quota["reserved"] > 0
    assert row["last_seen"] is not None
    assert [key["person"]["name"] for key in row["keys"]] == ["Ann"]
    assert ann.partition(".")[2] not in json.dumps(everybody)
    assert SECRET_WORDS not in json.dumps(everybody)
    assert by_account["people"][0]["accounts"] == [{"platform": "discord", "account": "4711"}]
    assert [one["name"] for one in by_sign["people"]] == ["Ben 100%_"]
    assert everybody["total"] == len(everybody["people"]) >= 3


async def test_people_come_in_pages_without_gaps(client, server, keys):
    admin, _ = keys
    for number in range(5):
        await server.usecases.people.identify_account("telegram", str(number), f"P{number}")
    seen: list[str] = []
    before: str | None = ""
    while before is not None:
        page = (await ask(client, "GET", f"/people?limit=2{before and '&before=' + before}", admin)).json()
        seen += [one["id"] for one in page["people"]]
        before = page["next"]

    assert len(seen) == len(set(seen)) == page["total"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/people?q={'x' * 201}", 422),
        ("/people?q=%00%F0%9F%92%A9'%22", 200),
        (f"/people?before={'x' * 500}", 422),
        ("/people?before=nobody", 200),
        ("/jobs?before=9-99", 200),
        ("/jobs?limit=1000", 422),
        ("/reports?state=secret", 422),
        ("/reports/0/pictures/1", 404),
        ("/reports/9999999999999999999/pictures/1", 404),
        ("/metrics?since=yesterday", 422),
        ("/metrics?since=99999999999999999", 422),
        ("/metrics?since=2026-01-01T00:00:00%2B02:00", 200),
        ("/metrics?since=2026-01-01T00:00:00+02:00", 200),
        (f"/incidents?code={'a' * 300}", 422),
        ("/incidents?code=../../etc/passwd", 200),
    ],
)
async def test_bad_questions_are_answered_with_a_sentence(shared_client, path, status):
    answer = await shared_client.get(f"{ADMIN}{path}")

    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["detail"].endswith(".")


async def test_a_quota_is_set_applies_and_is_taken_back(client, keys):
    admin, ann = keys
    [row] = (await ask(client, "GET", "/people?q=Ann", admin)).json()["people"]
    path = f"/people/{row['id']}/quota"
    set_to = (await ask(client, "PUT", path, admin, {"limit": 0.2})).json()
    wanted = {"command": "imagine", "options": {"prompt": "x", "model": "paint", "steps": 5}}
    refused = await client.post("/api/v1/jobs", json=wanted, headers=bearer(ann))
    back = (await ask(client, "PUT", path, admin, {"limit": None})).json()

    assert (set_to["limit"], set_to["own_limit"]) == (0.2, 0.2)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert (back["limit"], back["own_limit"]) == (5.0, None)
    for body in ({"limit": -1}, {"limit": "much"}, {"limit": 1e300}, {"limit": True}, {}, {"limit": 1, "more": 2}):
        assert (await ask(client, "PUT", path, admin, body)).status_code == 422, body
    assert (await ask(client, "PUT", "/people/nobody/quota", admin, {"limit": 1})).status_code == 404


# ---------------------------------------------------------------- keys and links


async def test_a_new_persons_key_comes_with_a_link_that_lets_one_visitor_in(client, keys):
    admin, _ = keys
    created = (await ask(client, "POST", "/keys", admin, {"person": "Bea", "name": "Bea's phone"})).json()
    token = created["link"].removeprefix("/#key=")
    first = await client.post("/api/v1/session", json={"key": token})
    me = await client.get("/api/v1/me")
    client.cookies.clear()
    second = await client.post("/api/v1/session", json={"key": token})
    as_cookie = await client.get("/api/v1/me", headers={"Cookie": f"{next(iter(first.cookies))}={token}"})
    by_key = await client.get("/api/v1/me", headers=bearer(created["key"]))
    listed = (await ask(client, "GET", "/keys", admin)).json()["keys"]

    assert (first.status_code, me.json()["name"]) == (201, "Bea")
    assert second.status_code == as_cookie.status_code == 401
    assert "Ask an admin" in second.json()["detail"]
    assert by_key.json() == {"name": "Bea", "admin": False}
    assert "Bea's phone" in [key["name"] for key in listed]
    assert created["key"].partition(".")[2] not in json.dumps(listed)
    assert datetime.fromisoformat(created["link_expires_at"]) > datetime.now(UTC) + timedelta(hours=23)


async def test_a_link_ends_with_its_time_and_with_its_key(client, server, keys, monkeypatch):
    admin, _ = keys
    monkeypatch.setattr("bot.usecases.key_links.LINK_LIFETIME", timedelta(seconds=-1))
    late = (await ask(client, "POST", "/keys", admin, {"person": "Late"})).json()
    monkeypatch.undo()
    revoked = (await ask(client, "POST", "/keys", admin, {"person": "Gone"})).json()
    ended = await ask(client, "DELETE", f"/keys/{revoked['prefix']}", admin)

    for created in (late, revoked):
        answer = await client.post("/api/v1/session", json={"key": created["link"].removeprefix("/#key=")})
        assert answer.status_code == 401
    assert ended.json()["revoked_at"] is not None
    assert (await ask(client, "DELETE", "/keys/nothing", admin)).status_code == 404


async def test_no_admin_gets_a_key_to_what_somebody_else_has_made(client, server, keys):
    admin, ann = keys
    await wait_for_end(client, ann, await imagine(client, ann, SECRET_WORDS))
    for_ann = await ask(client, "POST", "/keys", admin, {"person": "Ann"})
    by_id = (await ask(client, "GET", "/people?q=Ann", admin)).json()["people"][0]["id"]
    for_id = (await ask(client, "POST", "/keys", admin, {"person": by_id})).json()
    for_self = (await ask(client, "POST", "/keys", admin, {})).json()
    chat = await server.usecases.people.identify_account("discord", "1", "Cid")
    for_chat = (await ask(client, "POST", "/keys", admin, {"person": "Cid"})).json()

    assert (for_ann.status_code, for_ann.json()["option"]) == (422, "person")
    assert for_id["person"]["id"] != by_id  # a person of that name
    assert for_self["person"]["name"] == "Olga"
    assert for_chat["person"]["id"] != chat.id
    for body in ({"person": ""}, {"person": "x" * 100}, {"name": "\u202e"}, {"admin": "yes"}, {"secret": 1}):
        assert (await ask(client, "POST", "/keys", admin, body)).status_code == 422, body


# ---------------------------------------------------------------- the queue


async def test_the_queue_shows_everybody_but_nobodys_words(client, server, keys):
    admin, ann = keys
    running = await imagine(client, ann, f"slow {SECRET_WORDS}")
    queued = await imagine(client, ann, f"slow {SECRET_WORDS}", seed=2)
    own = await imagine(client, admin, "slow own words")
    body = (await ask(client, "GET", "/jobs", admin)).json()
    async with asyncio.timeout(30):
        while not (rows := {row["id"]: row for row in body["jobs"]})[running]["device"]:
            await asyncio.sleep(0.01)
            body = (await ask(client, "GET", "/jobs", admin)).json()

    assert (rows[running]["state"], rows[running]["device"]) == ("running", "cpu")
    assert body["jobs"][0]["id"] == running
    assert (rows[queued]["position"] or 0) >= 1
    assert rows[queued]["person"]["name"] == "Ann"
    assert rows[own]["prompt"] == "slow own words"
    assert SECRET_WORDS not in json.dumps(body)
    first = (await ask(client, "GET", "/jobs?limit=1", admin)).json()
    rest = (await ask(client, "GET", f"/jobs?limit=2&before={first['next']}", admin)).json()
    assert [row["id"] for row in first["jobs"] + rest["jobs"]] == [row["id"] for row in body["jobs"]]

    cancelled = await ask(client, "DELETE", f"/jobs/{queued}", admin)
    by_prefix = await ask(client, "DELETE", f"/jobs/{running[:5]}", admin)
    assert (cancelled.status_code, cancelled.json()["prompt"]) == (202, None)
    assert by_prefix.status_code == 404
    assert (await wait_for_end(client, ann, queued))["state"] == "cancelled"
    await ask(client, "DELETE", f"/jobs/{running}", admin)
    assert (await wait_for_end(client, ann, running))["state"] == "cancelled"
    quota = (await client.get("/api/v1/quota", headers=bearer(ann))).json()
    assert quota["used"] == quota["reserved"] == 0
    server.pool.go_on.set()
    await wait_for_end(client, admin, own)
    late = await ask(client, "DELETE", f"/jobs/{own}", admin)
    assert (late.status_code, late.json()["code"]) == (409, "not_cancellable")


# ---------------------------------------------------------------- reports


async def reported(client, server, key, prompt, *, reporter="7", picture=0, count=1):
    """A finished job, which somebody from a chat reports."""
    job = await wait_for_end(client, key, await imagine(client, key, prompt, count=count))
    person = await server.usecases.people.identify_account("discord", reporter, f"R{reporter}")
    outcome = await server.usecases.reports.report_job(person, job["id"], picture=picture, reason="rude\u202e words")
    return job, outcome


async def test_an_open_report_shows_what_it_is_about_and_a_closed_one_does_not(client, server, keys):
    admin, ann = keys
    job, outcome = await reported(client, server, ann, SECRET_WORDS, picture=2, count=2)
    [report] = (await ask(client, "GET", "/reports", admin)).json()["reports"]
    shown = await client.get(report["pictures"][0]["url"], headers=bearer(admin))
    other = await ask(client, "GET", f"/reports/{report['id']}/pictures/1", admin)
    await ask(client, "DELETE", f"/reports/{report['id']}", admin, {"action": "dismiss"})
    closed = (await ask(client, "GET", "/reports?state=closed", admin)).json()
    gone = await ask(client, "GET", f"/reports/{report['id']}/pictures/2", admin)
    repeated = await ask(client, "DELETE", f"/reports/{report['id']}", admin)

    assert outcome == "saved"
    assert (report["prompt"], report["reason"], report["picture"]) == (SECRET_WORDS, "rude words", 2)
    assert [one["n"] for one in report["pictures"]] == [2]
    assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store")
    assert shown.content == (await client.get(job["result"]["media"][1]["url"], headers=bearer(ann))).content
    assert other.status_code == gone.status_code == 404
    assert repeated.status_code == 204
    assert closed["reports"][0]["outcome"] == "dismiss"
    assert SECRET_WORDS not in json.dumps(closed)
    assert closed["reports"][0]["pictures"] == []
    assert (await ask(client, "GET", "/reports?state=open", admin)).json()["total"] == 0


async def test_deleting_what_was_reported_takes_the_picture_and_then_the_job(client, server, keys):
    admin, ann = keys
    job, _ = await reported(client, server, ann, SECRET_WORDS, picture=1, count=2)
    [report] = (await ask(client, "GET", "/reports", admin)).json()["reports"]
    wrong = await ask(client, "DELETE", f"/reports/{report['id']}", admin, {"action": "burn"})
    first = await ask(client, "DELETE", f"/reports/{report['id']}?action=delete", admin)
    left = (await client.get(f"/api/v1/jobs/{job['id']}", headers=bearer(ann))).json()
    await reported(client, server, ann, "x")
    [whole] = (await ask(client, "GET", "/reports", admin)).json()["reports"]
    await ask(client, "DELETE", f"/reports/{whole['id']}", admin, {"action": "delete"})
    gone = await client.get(f"/api/v1/jobs/{whole['job']['id']}", headers=bearer(ann))

    assert (wrong.status_code, first.status_code) == (422, 204)
    assert [one is None for one in left["result"]["media"]] == [True, False]
    assert gone.status_code == 404
    assert (await ask(client, "GET", "/reports", admin)).json()["total"] == 0
    assert await server.storage.maintenance.check() == []


async def test_a_person_reports_once_and_not_without_end(client, server, keys, monkeypatch):
    admin, ann = keys
    monkeypatch.setattr("bot.usecases.reports.MAX_PER_DAY", 2)
    jobs = [await wait_for_end(client, ann, await imagine(client, ann, "x", steps=1, seed=n)) for n in range(3)]
    person = await server.usecases.people.identify_account("discord", "7", "R")
    outcomes = [
        await server.usecases.reports.report_job(person, job["id"]) for job in (jobs[0], jobs[0], jobs[1], jobs[2])
    ]
    other = await server.usecases.people.identify_account("discord", "8", "S")
    await server.usecases.reports.report_job(other, jobs[0]["id"])
    page = (await ask(client, "GET", "/reports", admin)).json()
    twice = [one for one in page["reports"] if one["job"]["id"] == jobs[0]["id"]]
    await ask(client, "DELETE", f"/reports/{twice[0]['id']}", admin)

    assert outcomes == ["saved", "known", "saved", "limit"]
    assert len(twice) == 2
    assert (await ask(client, "GET", "/reports?state=open", admin)).json()["total"] == 1


async def test_a_reported_job_shows_its_words_in_the_queue(client, server, keys):
    admin, ann = keys
    job_id = await imagine(client, ann, f"slow {SECRET_WORDS}")
    person = await server.usecases.people.identify_account("discord", "7", "R")
    await server.usecases.reports.report_job(person, job_id)
    [row] = (await ask(client, "GET", "/jobs", admin)).json()["jobs"]

    assert row["prompt"] == f"slow {SECRET_WORDS}"
    server.pool.go_on.set()
    await wait_for_end(client, ann, job_id)


async def test_pages_of_reports_have_open_ones_first_and_no_gaps(client, server, keys):
    admin, ann = keys
    for number in range(4):
        await reported(client, server, ann, f"x {number}", reporter=str(number))
    ids = [one["id"] for one in (await ask(client, "GET", "/reports", admin)).json()["reports"]]
    await ask(client, "DELETE", f"/reports/{ids[0]}", admin)
    seen: list[str] = []
    before: str | None = ""
    while before is not None:
        page = (await ask(client, "GET", f"/reports?limit=1{before and '&before=' + before}", admin)).json()
        seen += [one["id"] for one in page["reports"]]
        before = page["next"]

    assert seen == [*ids[1:], ids[0]]


# ---------------------------------------------------------------- refusals, incidents, the server


async def test_refused_and_failed_jobs_are_listed_without_their_words(client, server, keys):
    admin, ann = keys
    blocked = await wait_for_end(client, ann, await imagine(client, ann, f"nude {SECRET_WORDS}"))
    failed = await wait_for_end(client, ann, await imagine(client, ann, f"fail {SECRET_WORDS}"))
    code = failed["error"]["incident"]
    logs = server.data_dir / "logs"
    logs.mkdir(exist_ok=True)
    lines = [{"event": "a job failed", "incident": code, "prompt": SECRET_WORDS}, {"event": code, "incident": "other"}]
    (logs / "easel.log").write_text("cut off}\n" + "\n".join(map(json.dumps, lines)))
    refusals = (await ask(client, "GET", "/blocked", admin)).json()
    found = (await ask(client, "GET", f"/incidents?code={code}", admin)).json()
    latest = (await ask(client, "GET", "/incidents", admin)).json()

    assert [row["id"] for row in refusals["blocked"]] == [blocked["id"]]
    assert (refusals["total"], refusals["blocked"][0]["code"]) == (1, "blocked")
    assert [row["id"] for row in found["incidents"]] == [failed["id"]] == [row["id"] for row in latest["incidents"]]
    assert found["log"] == [{"event": "a job failed"}]
    for body in (refusals, found, latest):
        assert SECRET_WORDS not in json.dumps(body)


async def test_figures_of_each_minute_are_stored_and_old_ones_go(client, server, keys):
    admin, ann = keys
    sampler = server.application.sampler
    await wait_for_end(client, ann, await imagine(client, ann, "x", count=2))
    await wait_for_end(client, ann, await imagine(client, ann, "fail"))
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    old = now - timedelta(hours=49)
    await server.storage.metric_samples.save_samples(old, {"jobs": 9.0}, keep_h=100)
    await sampler.sample_once(now - timedelta(minutes=1))
    await sampler.sample_once(now)
    body = (await ask(client, "GET", "/metrics", admin)).json()
    kept = await server.storage.metric_samples.list_samples(old)

    assert len(body["minutes"]) == 2
    assert body["series"]["jobs"] == [1.0, 0.0]
    assert body["series"]["images"] == [2.0, 0.0]
    assert body["series"]["errors"] == [1.0, 0.0]
    assert body["series"]["queued"] == [0.0, 0.0]
    assert body["series"]["wait_p95_s"][0] >= body["series"]["wait_p50_s"][0] >= 0
    assert body["series"]["wait_p95_s"][1] is None
    assert set(body["series"]) >= {"running", "memory_mb.cpu"}
    assert old not in kept


async def test_adapters_and_what_trainings_keep_count_as_storage(client, server):
    for place, size in (("adapters/ward/samples", 2**20), ("training/birds/state", 2**20 + 1)):
        folder = server.data_dir / place
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(size))

    assert (await client.get(f"{ADMIN}/storage")).json()["learning_bytes"] == 3 * 2**20


async def test_devices_storage_and_settings_are_told_without_secrets(shared_client):
    devices = (await shared_client.get(f"{ADMIN}/devices")).json()
    storage = (await shared_client.get(f"{ADMIN}/storage")).json()
    settings = (await shared_client.get(f"{ADMIN}/settings")).json()["settings"]

    [cpu] = devices["devices"]
    assert (cpu["device"], cpu["state"], cpu["backends"], cpu["lost_at"]) == ("cpu", "ready", ["torch"], None)
    assert "database" in [check["name"] for check in devices["checks"]]
    assert storage["database_bytes"] > 0
    assert storage["free_bytes"] > 0
    assert storage["retention"] == {"days": 0, "max_gb": 0.0}
    assert settings["safety"]["policy"] == "block"
    assert settings["quota"]["daily_device_seconds"] == 5.0
    assert not any(word in json.dumps(settings) for word in ("token", "secret", "password", "/"))


async def test_what_an_admin_reads_is_logged(client, server, keys):
    admin, ann = keys
    await reported(client, server, ann, SECRET_WORDS)
    with capture_logs() as events:
        [report] = (await ask(client, "GET", "/reports", admin)).json()["reports"]
        await client.get(report["pictures"][0]["url"], headers=bearer(admin))
        await ask(client, "DELETE", f"/reports/{report['id']}", admin)

    who = admin.partition(".")[0]
    done = [(event["action"], event.get("admin")) for event in events if event.get("admin")]
    assert done == [("reports_read", who), ("report_opened", who), ("report_closed", who)]
    assert SECRET_WORDS not in str(events)


async def test_the_local_person_needs_no_key(shared_client):
    async def status(path):
        return (await shared_client.get(f"{ADMIN}{path}")).status_code

    assert [await status(path) for path in ("/people", "/jobs", "/reports", "/blocked")] == [200] * 4
