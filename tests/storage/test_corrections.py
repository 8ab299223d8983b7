"""Corrections with consent: given, withdrawn, erased, exported, restored."""

import json
import zipfile
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select

from bot.errors import ImageGone, InvalidOption, JobNotFound, NotFound
from bot.jobs import ImageRef, new_job_id
from bot.ports import AdapterRecord, Correction, TrainedExample
from storage import open_storage, restore, sources
from storage.learning_tables import consent, correction, withdrawn_example
from storage.schema import utcnow
from tests.erased_bytes import files_with
from tests.storage.conftest import SETTINGS
from tests.storage.factories import accept, claim, make_media, make_origin, make_picture, render


async def upload(storage, owner, data=b"a photo", source="web"):
    return (
        await storage.media.add_upload(owner.id, make_media(data), width=8, height=8, parameters=None, source=source)
    ).id


async def answer(storage, owner, *images, platform="web", extra=None, parent=None, text="a cat"):
    """A delivered job about images."""
    [one] = await accept(
        storage,
        owner,
        command="ask",
        options={"question": "what is it?"},
        images=tuple(ImageRef(image) for image in images),
        origin=make_origin(platform=platform, extra=extra or {}),
        parent=None if parent is None else parent.id,
    )
    await render(storage, await claim(storage, only=frozenset({one.id})), text=text)
    return one


def new_correction(owner, job, *, text="a lynx", consents=True, media=None):
    now = utcnow()
    return Correction(
        id=new_job_id(), job=job.id, person=owner.id, media=media or job.images[0].id, question="what is it?",
        answer="a cat", text=text, created_at=now, consented_at=now if consents else None,
    )  # fmt: skip


async def correct(storage, owner, job, **said):
    return await storage.corrections.save_correction(new_correction(owner, job, **said))


async def corrected(storage, owner, **said):
    """The job and its correction."""
    job = await answer(storage, owner, await upload(storage, owner))
    return job, await correct(storage, owner, job, **said)


async def learn(storage, *corrections, name="birds"):
    made = AdapterRecord(
        name=name, kind="vision", model="m", revision="1", sha256="0", state="accepted", report={}, created_at=utcnow()
    )
    examples = [TrainedExample(f"digest {one.id}", one.id) for one in corrections]
    await storage.adapters.save_adapter(made, examples)


async def counts(storage):
    def read(tx):
        return tuple(
            tx.scalar(select(func.count()).select_from(one)) for one in (correction, consent, withdrawn_example)
        )

    return await storage.jobs._database.run_read(read)


async def listed(storage):
    return [one.id for one in await storage.corrections.list_consented()]


# ---------------------------------------------------------------- given, replaced, withdrawn


async def test_consent_that_is_given_twice_is_given_once(storage, ann):
    job, first = await corrected(storage, ann)
    again = await correct(storage, ann, job)

    assert again == first
    assert await listed(storage) == [first.id]
    assert await counts(storage) == (1, 1, 0)


async def test_consent_that_is_withdrawn_twice_is_withdrawn_once_and_given_anew_under_another_id(storage, ann):
    job, first = await corrected(storage, ann)
    withdrawn = await correct(storage, ann, job, consents=False)
    again = await correct(storage, ann, job, consents=False)
    pending = await storage.corrections.list_withdrawn()
    anew = await correct(storage, ann, job)

    assert (withdrawn.id, withdrawn.consented_at) == (first.id, None)
    assert withdrawn.withdrawn_at is not None
    assert again == withdrawn
    assert pending == [first.id]
    assert anew.id != first.id
    assert await listed(storage) == [anew.id]
    assert await storage.corrections.list_withdrawn() == [first.id]
    await storage.corrections.settle_withdrawn(pending)
    assert await counts(storage) == (1, 1, 0)


async def test_other_words_replace_a_correction_and_its_consent(storage, ann):
    job, first = await corrected(storage, ann)
    second = await correct(storage, ann, job, text="a wild cat", consents=False)

    assert second.id != first.id
    assert (await storage.corrections.find_corrections(ann.id, [job.id]))[job.id] == second
    assert await storage.corrections.list_withdrawn() == [first.id]
    assert await counts(storage) == (1, 0, 1)


async def test_a_withdrawn_consent_stays_while_an_adapter_has_learned_from_it(storage, ann):
    job, one = await corrected(storage, ann)
    await learn(storage, one)
    deleted = await storage.corrections.delete_correction(job.id, ann.id)
    exported = await export(storage, ann)
    kept = await counts(storage)
    await storage.adapters.delete_adapter("birds")
    after = await counts(storage)
    other, _ = await corrected(storage, ann)
    await storage.corrections.delete_correction(other.id, ann.id)

    assert deleted == one
    assert (kept, after) == ((0, 1, 1), (0, 0, 1))
    assert exported["corrections"] == []
    assert exported["consents"][0]["withdrawn_at"] is not None
    assert await counts(storage) == (0, 0, 2)
    assert await storage.corrections.delete_correction(other.id, ann.id) is None


async def test_somebody_else_finds_no_job_to_correct(storage, ann, ben):
    job, _ = await corrected(storage, ann)
    with pytest.raises(JobNotFound):
        await correct(storage, ben, job)
    with pytest.raises(JobNotFound):
        await storage.corrections.delete_correction(job.id, ben.id)

    assert await storage.corrections.find_corrections(ben.id, [job.id]) == {}
    assert await counts(storage) == (1, 1, 0)


async def test_an_image_that_is_gone_cannot_be_corrected(storage, ann):
    job = await answer(storage, ann, await upload(storage, ann))
    await storage.media.sweep(unused_s=0, keep_days=0, max_gb=1e-12)

    with pytest.raises(ImageGone):
        await correct(storage, ann, job)


async def test_an_image_that_was_deleted_and_uploaded_again_is_not_the_jobs(storage, ann):
    old = await answer(storage, ann, await upload(storage, ann))
    await _age(storage, ann)
    await storage.media.sweep(unused_s=1e9, keep_days=5, max_gb=0)
    again = await answer(storage, ann, await upload(storage, ann))

    with pytest.raises(ImageGone):
        await correct(storage, ann, old)
    await storage.privacy.erase_job(again.id, ann.id)
    assert await storage.maintenance.check() == []


async def test_what_a_blocked_person_consented_to_is_used_again_when_they_are_not(storage, ann):
    _, one = await corrected(storage, ann)
    await storage.administration.set_blocked(ann.id, is_blocked=True)
    blocked = await listed(storage)
    await storage.administration.set_blocked(ann.id, is_blocked=False)

    assert blocked == []
    assert await listed(storage) == [one.id]


# ---------------------------------------------------------------- deletion, export


async def export(storage, owner):
    with zipfile.ZipFile(await storage.privacy.export_person(owner.id)) as archive:
        return json.loads(archive.read("everything.json"))


async def test_an_export_has_both_and_those_of_nobody_else(storage, ann, ben):
    job, one = await corrected(storage, ann)
    await corrected(storage, ben, text="bens words")
    await correct(storage, ann, job, consents=False)
    rows = await export(storage, ann)

    assert [row["text"] for row in rows["corrections"]] == ["a lynx"]
    assert [(row["correction"], row["withdrawn_at"] is None) for row in rows["consents"]] == [(one.id, False)]
    assert "bens words" not in json.dumps(rows)


@pytest.mark.parametrize("what", ["correction", "job", "image", "space", "person"])
async def test_a_correction_goes_with_its_job_its_image_and_its_person(storage, ann, ben, data_dir, what):
    job, one = await corrected(storage, ann, text="zq00042x")
    _, other = await corrected(storage, ben)
    match what:
        case "correction":
            await storage.corrections.delete_correction(job.id, ann.id)
        case "job":
            await storage.privacy.erase_job(job.id, ann.id)
        case "image":
            await _age(storage, ann)
            await storage.media.sweep(unused_s=1e9, keep_days=5, max_gb=0)
        case "space":
            await _age(storage, ann)
            await storage.media.sweep(unused_s=1e9, keep_days=0, max_gb=1e-12)
        case "person":
            await storage.privacy.forget_person(ann.id)
    gone = {one.id} if what != "space" else {one.id, other.id}

    assert set(await storage.corrections.list_withdrawn()) == gone
    assert await listed(storage) == ([other.id] if what != "space" else [])
    assert (await counts(storage))[:2] == ((1, 1) if what != "space" else (0, 0))
    assert await storage.maintenance.check() == []
    assert await storage.maintenance.purge()
    assert files_with(data_dir, b"zq00042x") == []


async def _age(storage, owner):
    from storage.schema import media_owner

    old = media_owner.update().where(media_owner.c.owner == owner.id).values(kept_since=utcnow() - timedelta(days=9))
    await storage.jobs._database.run_write(lambda tx: tx.execute(old).rowcount)


async def test_nothing_that_leads_to_a_forgotten_person_is_left_though_an_adapter_learned_from_it(storage, ann):
    _, one = await corrected(storage, ann)
    await learn(storage, one)
    await storage.privacy.forget_person(ann.id)

    assert await counts(storage) == (0, 0, 1)
    assert await storage.corrections.list_withdrawn() == [one.id]
    with pytest.raises((NotFound, JobNotFound)):
        await correct(storage, ann, await answer(storage, ann, await upload(storage, ann)))


async def test_a_correction_stays_when_an_image_is_deleted_where_it_was_made_and_not_where_it_was_asked_about(
    storage, ann
):
    [made] = await accept(storage, ann, origin=make_origin(platform="web"))
    image = await storage.media.write_file(make_media(b"made"))
    await render(storage, await claim(storage), media=(make_picture(image),))
    job = await answer(storage, ann, image)
    one = await correct(storage, ann, job)
    await storage.privacy.erase_picture(made.id, ann.id, 1)

    assert (await storage.corrections.find_corrections(ann.id, [job.id]))[job.id] == one


# ---------------------------------------------------------------- restore


async def test_a_restored_backup_gives_no_withdrawn_consent_back(data_dir, tmp_path_factory):
    copy = tmp_path_factory.mktemp("backup") / "copy.db"
    async with open_storage(SETTINGS, data_dir) as storage:
        ann = await storage.people.identify_account("web", "1", "Ann")
        (kept_job, kept), (withdrawn_job, withdrawn), (deleted_job, deleted) = [
            await corrected(storage, ann) for _ in range(3)
        ]
        await learn(storage, withdrawn)
        await storage.maintenance.backup(copy)
        await correct(storage, ann, withdrawn_job, consents=False)
        await storage.corrections.delete_correction(deleted_job.id, ann.id)
        _, later = await corrected(storage, ann)
        await storage.corrections.settle_withdrawn([withdrawn.id, deleted.id])
    restore("", data_dir, copy, busy_timeout_ms=200)
    async with open_storage(SETTINGS, data_dir) as storage:
        used, pending = await listed(storage), set(await storage.corrections.list_withdrawn())
        retired = await storage.adapters.retire_adapters(pending)

    assert used == [kept.id]
    assert pending == {withdrawn.id, deleted.id, later.id}
    assert [one.name for one in retired] == ["birds"]
    assert kept_job.id != withdrawn_job.id


@pytest.mark.parametrize(("before", "is_kept"), [("none", True), ("damaged", False)])
async def test_consent_is_restored_where_nothing_was_before_and_not_where_it_cannot_be_compared(
    data_dir, tmp_path_factory, before, is_kept
):
    copy = tmp_path_factory.mktemp("backup") / "copy.db"
    async with open_storage(SETTINGS, data_dir) as storage:
        ann = await storage.people.identify_account("web", "1", "Ann")
        _, one = await corrected(storage, ann)
        await storage.maintenance.backup(copy)
    if before == "none":
        (data_dir / "easel.db").unlink()
    else:
        (data_dir / "easel.db").write_bytes(b"\0" * 4096)
    restore("", data_dir, copy, busy_timeout_ms=200)
    async with open_storage(SETTINGS, data_dir) as storage:
        used = await listed(storage)

    assert used == ([one.id] if is_kept else [])


# ---------------------------------------------------------------- what enters training, by entry point


async def page_photo(storage, ann, ben):
    return ann, await answer(storage, ann, await upload(storage, ann))


async def command_line_photo(storage, ann, ben):
    return ann, await answer(storage, ann, await upload(storage, ann, source="cli"), platform="cli")


def from_source(source, platform="web", extra=None):
    async def enter(storage, ann, ben):
        image = await upload(storage, ann, source=source)
        return ann, await answer(storage, ann, image, platform=platform, extra=extra)

    enter.__name__ = f"a photo of {source}, asked about on {platform} {extra or ''}"
    return enter


async def draw(
    storage, owner, *images, data=b"made", platform="web", parent=None, prompt="a fox", extra=None, asked=None
):
    """A job that draws, and its picture."""
    [one] = await accept(
        storage,
        owner,
        images=tuple(images),
        options={"prompt": prompt, **({"asked": {"prompt": asked}} if asked else {})},
        origin=make_origin(platform=platform, extra=extra or {}),
        parent=None if parent is None else parent.id,
    )
    made = await storage.media.write_file(make_media(data))
    await render(storage, await claim(storage, only=frozenset({one.id})), media=(make_picture(made),), text=None)
    return one, made


def made_from(*sources, platform="web", roles=("init", "mask")):
    """A result of the page, asked about there: what it was made from came from these."""

    async def enter(storage, ann, ben):
        images = [
            ImageRef(await upload(storage, ann, f"{number}".encode(), source), role=role)
            for number, (source, role) in enumerate(zip(sources, roles, strict=False))
        ]
        _, made = await draw(storage, ann, *images, platform=platform)
        return ann, await answer(storage, ann, made)

    enter.__name__ = f"made on {platform} from {sources}"
    return enter


async def made_from_what_was_made_from_a_chats_photo(storage, ann, ben):
    _, first = await draw(storage, ann, ImageRef(await upload(storage, ann, source="telegram")), data=b"first")
    _, second = await draw(storage, ann, ImageRef(first), data=b"second")
    return ann, await answer(storage, ann, second)


async def shared_in_a_chat(storage, ann, ben):
    image = await upload(storage, ben)
    await storage.media.share(image, ann.id, source="discord")
    return ann, await answer(storage, ann, image)


async def owned_before_it_was_shared_in_a_chat(storage, ann, ben):
    image = await upload(storage, ann)
    await storage.media.share(image, ann.id, source="discord")
    return ann, await answer(storage, ann, image)


async def equal_to_an_earlier_one_of_a_chat(storage, ann, ben):
    await upload(storage, ben, source="discord")
    return ann, await answer(storage, ann, await upload(storage, ann))


async def equal_to_a_later_one_of_a_chat(storage, ann, ben):
    job = await answer(storage, ann, await upload(storage, ann))
    await upload(storage, ben, source="telegram")
    return ann, job


async def made_from_one_that_another_person_has_from_a_chat(storage, ann, ben):
    image = await upload(storage, ann)
    await upload(storage, ben, source="discord")
    _, made = await draw(storage, ann, ImageRef(image))
    return ann, await answer(storage, ann, made)


async def made_from_one_of_another_person_of_the_page(storage, ann, ben):
    _, made = await draw(storage, ann, ImageRef(await upload(storage, ann)))
    await upload(storage, ben)
    return ann, await answer(storage, ann, made)


async def equal_to_another_persons_of_the_page(storage, ann, ben):
    await upload(storage, ben)
    return ann, await answer(storage, ann, await upload(storage, ann))


async def a_repeated_chat_job(storage, ann, ben):
    chat, _ = await draw(storage, ann, platform="discord", data=b"chat")
    _, made = await draw(storage, ann, parent=chat, data=b"again", prompt="other words")
    return ann, await answer(storage, ann, made)


async def a_job_that_repeats_one_that_repeats_a_chat_job(storage, ann, ben):
    chat, _ = await draw(storage, ann, platform="discord", data=b"chat")
    again, _ = await draw(storage, ann, parent=chat, data=b"again", prompt="other words")
    _, made = await draw(storage, ann, parent=again, data=b"and again", prompt="words of the page")
    return ann, await answer(storage, ann, made)


async def a_chats_prompt_that_was_repeated_on_the_page(storage, ann, ben):
    await draw(storage, ann, platform="discord", data=b"chat", prompt="a  Fox\nin the snow")
    _, made = await draw(storage, ann, data=b"first", prompt="a fox in the snow")
    _, edited = await draw(storage, ann, ImageRef(made), data=b"second", prompt="at night")
    return ann, await answer(storage, ann, edited)


async def a_prompt_that_a_chats_wildcards_made(storage, ann, ben):
    await draw(storage, ann, platform="discord", data=b"chat", prompt="a fox in snow", asked="a __animal__ in snow")
    _, made = await draw(storage, ann, data=b"first", prompt="a fox in snow")
    return ann, await answer(storage, ann, made)


async def a_programs_prompt_that_was_repeated_on_the_page(storage, ann, ben):
    await draw(storage, ann, extra={"client": "sdapi"}, data=b"program")
    _, made = await draw(storage, ann)
    return ann, await answer(storage, ann, made)


async def a_prompt_that_was_used_on_the_page_before(storage, ann, ben):
    await draw(storage, ann, data=b"before")
    _, made = await draw(storage, ann)
    return ann, await answer(storage, ann, made)


async def a_prompt_that_somebody_else_used_in_a_chat(storage, ann, ben):
    await draw(storage, ben, platform="discord", data=b"chat", prompt="a fox")
    await draw(storage, ann, platform="discord", data=b"other", prompt="an owl")
    _, made = await draw(storage, ann, prompt="a fox")
    return ann, await answer(storage, ann, made)


async def a_question_that_follows_from_a_chats_answer(storage, ann, ben):
    image = await upload(storage, ann)
    first = await answer(storage, ann, image, platform="telegram")
    second = await answer(storage, ann, image, parent=first)
    return ann, await answer(storage, ann, image, parent=second)


async def a_question_that_follows_from_an_erased_job(storage, ann, ben):
    image = await upload(storage, ann)
    first = await answer(storage, ann, image)
    second = await answer(storage, ann, image, parent=first)
    await storage.privacy.erase_job(first.id, ann.id)
    return ann, second


async def a_question_that_follows_on_the_page(storage, ann, ben):
    image = await upload(storage, ann)
    return ann, await answer(storage, ann, image, parent=await answer(storage, ann, image))


async def link(storage, one, other):
    await storage.links.add_code(one.id, "f" * 64, utcnow() + timedelta(minutes=5))
    return await storage.links.link(other.id, "f" * 64, None)


async def linked(storage, ann, ben, *, photo, platform):
    """A photo and a question of Ben's, whose account is linked to Ann's."""
    job = await answer(storage, ben, await upload(storage, ben, source=photo), platform=platform)
    kept = (await link(storage, ann, ben)).kept
    return next(one for one in (ann, ben) if one.id == kept), job


async def linked_after_a_chats_photo(storage, ann, ben):
    return await linked(storage, ann, ben, photo="discord", platform="discord")


async def linked_after_a_photo_of_the_page(storage, ann, ben):
    return await linked(storage, ann, ben, photo="web", platform="web")


async def linked_persons_who_both_had_the_image(storage, ann, ben):
    await upload(storage, ann, source="discord")
    return await linked(storage, ann, ben, photo="web", platform="web")


ENTRIES = {
    page_photo: True,
    command_line_photo: True,
    from_source("discord", "discord"): False,
    from_source("telegram", "telegram"): False,
    from_source("discord"): False,
    from_source("telegram"): False,
    from_source("web", "discord"): False,
    from_source("web", "telegram"): False,
    from_source("sdapi"): False,
    from_source("web", extra={"client": "sdapi"}): False,
    from_source(None): False,
    made_from(): True,
    made_from("web"): True,
    made_from("web", "cli"): True,
    made_from("discord"): False,
    made_from("web", "telegram"): False,
    made_from("sdapi", "web"): False,
    made_from(None): False,
    made_from(platform="discord"): False,
    made_from("web", platform="telegram"): False,
    made_from_what_was_made_from_a_chats_photo: False,
    shared_in_a_chat: False,
    owned_before_it_was_shared_in_a_chat: True,
    equal_to_an_earlier_one_of_a_chat: False,
    equal_to_a_later_one_of_a_chat: False,
    made_from_one_that_another_person_has_from_a_chat: False,
    made_from_one_of_another_person_of_the_page: True,
    equal_to_another_persons_of_the_page: True,
    a_repeated_chat_job: False,
    a_job_that_repeats_one_that_repeats_a_chat_job: False,
    a_chats_prompt_that_was_repeated_on_the_page: False,
    a_prompt_that_a_chats_wildcards_made: False,
    a_programs_prompt_that_was_repeated_on_the_page: False,
    a_prompt_that_was_used_on_the_page_before: True,
    a_prompt_that_somebody_else_used_in_a_chat: True,
    a_question_that_follows_from_a_chats_answer: False,
    a_question_that_follows_from_an_erased_job: False,
    a_question_that_follows_on_the_page: True,
    linked_after_a_chats_photo: False,
    linked_after_a_photo_of_the_page: True,
    linked_persons_who_both_had_the_image: False,
}  # fmt: skip
HAS_ANOTHER_OWNER = {
    equal_to_an_earlier_one_of_a_chat,
    equal_to_a_later_one_of_a_chat,
    made_from_one_that_another_person_has_from_a_chat,
}
"""Consent is taken, because its refusal would tell of somebody else's image, and the image is not used."""


@pytest.mark.parametrize(("enter", "is_used"), ENTRIES.items())
async def test_only_what_first_came_from_its_owner_enters_training(storage, ann, ben, enter, is_used):
    person, job = await enter(storage, ann, ben)
    wanted = new_correction(person, job)
    if is_used or enter in HAS_ANOTHER_OWNER:
        await storage.corrections.save_correction(wanted)
    else:
        with pytest.raises(InvalidOption) as refused:
            await storage.corrections.save_correction(wanted)
        assert refused.value.problem == "consent_source"
        assert await storage.corrections.save_correction(new_correction(person, job, consents=False))
        await consent_by_force(storage, person, job)

    assert len(await listed(storage)) == is_used


async def test_a_persons_prompts_in_chats_are_read_once_for_all_of_their_corrections(storage, ann, monkeypatch):
    read, calls = sources._chat_prompts, []

    def counted(tx, owner):
        calls.append(owner)
        return read(tx, owner)

    monkeypatch.setattr(sources, "_chat_prompts", counted)
    for number in range(2):
        _, made = await draw(storage, ann, data=f"{number}".encode())
        await correct(storage, ann, await answer(storage, ann, made))
    calls.clear()

    assert len(await listed(storage)) == 2
    assert calls == [ann.id]


async def consent_by_force(storage, person, job):
    """As if it had been given before it was refused."""
    one = (await storage.corrections.find_corrections(person.id, [job.id]))[job.id]
    row = {"correction": one.id, "person": person.id, "given_at": utcnow()}
    await storage.jobs._database.run_write(lambda tx: tx.execute(insert(consent), row))


async def test_linking_accounts_moves_corrections_and_changes_nothing_else(storage, ann, ben):
    of_ann = [(await corrected(storage, ann))[1], (await corrected(storage, ann, consents=False))[1]]
    job, of_ben = await corrected(storage, ben)
    await correct(storage, ben, job, consents=False)
    kept = (await link(storage, ann, ben)).kept
    found = await storage.corrections.find_corrections(kept, [one.job for one in (*of_ann, of_ben)])

    assert {one.id: (one.consented_at is not None, one.withdrawn_at is not None) for one in found.values()} == {
        of_ann[0].id: (True, False),
        of_ann[1].id: (False, False),
        of_ben.id: (False, True),
    }
    assert await listed(storage) == [of_ann[0].id]
    assert await storage.corrections.list_withdrawn() == [of_ben.id]
