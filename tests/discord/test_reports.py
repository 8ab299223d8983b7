"""Reports on Discord: the button under a result of a server, and the message menu with a form for the reason."""

from adapters.discord import texts
from bot.chat.reporting import CONFIRMATIONS, NOTHING_TO_REPORT
from bot.ports import ReportedJob
from tests.discord.app_fixture import DiscordApp
from tests.discord.simulated_users import SimulatedUser
from tests.discord.test_conversation import imagine_and_wait, job_of


async def stored(app: DiscordApp) -> list[ReportedJob]:
    page = await app.application.usecases.reports.list_reports("test", "open", before=None, limit=50)
    return list(page.items)


async def test_the_button_reports_once_for_each_person_and_answers_them_alone(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await imagine_and_wait(ann)
    job = await job_of(app, made)
    assert f"v1:report:{job.id}" in made.buttons
    answers = [await bob.private_reply(bob.press(made, "report")) for _ in range(2)]

    assert answers == [CONFIRMATIONS["saved"], CONFIRMATIONS["known"]]
    [report] = await stored(app)
    assert (report.job.id, report.reporter.name, report.picture, report.reason) == (job.id, "bob", None, "")


async def test_a_button_that_names_somebodys_private_job_reports_nothing(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    secret = await job_of(app, await imagine_and_wait(ann, prompt="a secret"))
    elsewhere = bob.in_channel(ann.server.state.channel())
    own = await imagine_and_wait(elsewhere)
    answer = await elsewhere.private_reply(elsewhere.press_unchecked(own, f"v1:report:{secret.id}"))

    assert "no longer works" in answer
    assert await stored(app) == []


async def test_the_menu_asks_for_a_reason_and_reports_what_the_message_shows(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await imagine_and_wait(ann)
    opened = bob.menu(texts.REPORT_THIS, made)
    answer = await bob.private_reply(await bob.submit(opened, "it is rude"))

    assert answer == CONFIRMATIONS["saved"]
    assert opened.modal is not None
    assert opened.modal["components"][0]["component"]["required"] is False
    [report] = await stored(app)
    assert (report.reason, report.job.id) == ("it is rude", (await job_of(app, made)).id)


async def test_the_menu_says_so_where_there_is_nothing_of_the_bots(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    said = ann.write_message("hello", mention=False)
    refused = await bob.private_reply(bob.menu(texts.REPORT_THIS, said))
    elsewhere = bob.in_channel(ann.server.state.channel())
    made = await imagine_and_wait(ann)
    forged = elsewhere.submit_unchecked(f"menu:report:{made.channel.id}:{made.id}", "x")

    assert refused == NOTHING_TO_REPORT
    assert "no longer works" in await elsewhere.private_reply(forged)
    assert await stored(app) == []
