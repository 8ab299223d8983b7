"""Nothing that first came through Discord, and nothing made from it, enters training, also of a linked person."""

from adapters.discord import texts
from tests.discord.app_fixture import DiscordApp
from tests.discord.simulated_users import SimulatedUser
from tests.discord.test_conversation import a_photo, imagine_and_wait
from tests.training_sources import assert_nothing_enters_training


async def test_no_way_in_leads_to_training(app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser) -> None:
    usecases = app.application.usecases
    home = await usecases.people.named_person("ann at home")
    code = (await usecases.links.create_code(home)).text
    await usecases.links.link(await app.person(ann.person.id), "discord:ann", code)
    ann.slash("caption", image=a_photo(app.server, seed=31))
    await ann.finished(1)
    ann.write_message("what is it?", a_photo(app.server, seed=32))
    asked = await ann.finished(2)
    ann.write_message("and its colour?", reply_to=asked)
    await ann.finished(3)
    made = await imagine_and_wait(ann)
    ann.write_message("what is it?", reply_to=made)
    await ann.finished(5)
    ann.press(made, "vary")
    varied = await ann.finished(6)
    ann.press(varied, "upscale")
    await ann.finished(7)
    ann.menu(texts.CAPTION_THIS, bob.write_message("look", a_photo(app.server, seed=33), mention=False))
    await ann.finished(8)
    platforms = await assert_nothing_enters_training(app.application, await app.person(ann.person.id))

    assert platforms == {"discord"}
