"""The arguments of `setup`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.cli import session as running
from adapters.cli.error_output import BadInput
from adapters.cli.options import CONFIG, DATA_DIR, JSON
from adapters.cli.session import Session

FILE = "FILE|-"


def add_setup(app: typer.Typer, session: Session) -> None:
    @app.command(help="Choose models that suit this machine, connect chats, name administrators; asks, or takes flags")
    def setup(
        image: Annotated[str | None, typer.Option(metavar="NAME|none", help="The model for pictures")] = None,
        vision: Annotated[
            str | None, typer.Option(metavar="NAME|none", help="The model for captions and answers")
        ] = None,
        discord_token_file: Annotated[
            str | None, typer.Option(metavar=FILE, help="Where Discord's bot token is; - is standard input")
        ] = None,
        telegram_token_file: Annotated[
            str | None, typer.Option(metavar=FILE, help="Where Telegram's bot token is; - is standard input")
        ] = None,
        discord_admin: Annotated[
            list[str] | None, typer.Option(metavar="ID", help="A Discord account that may administer; repeatable")
        ] = None,
        telegram_admin: Annotated[
            list[str] | None, typer.Option(metavar="ID", help="A Telegram account that may administer; repeatable")
        ] = None,
        accept_licence: Annotated[
            list[str] | None, typer.Option(metavar="NAME", help="You accept this model's licence; repeatable")
        ] = None,
        yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take the models that suit this machine")] = False,
        no_download: Annotated[bool, typer.Option("--no-download", help="Fetch no model now")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.models import install
        from adapters.cli.setup.prompt import find_person
        from adapters.cli.setup.wizard import Answers, set_up

        loaded = session.load(config, data_dir)
        answers = Answers(
            models={"image": image, "vision": vision},
            tokens={"discord": _read(discord_token_file), "telegram": _read(telegram_token_file)},
            admins={
                "discord": tuple(discord_admin) if discord_admin else None,
                "telegram": tuple(telegram_admin) if telegram_admin else None,
            },
            accepted=tuple(accept_licence or ()),
            takes_advice=yes,
            fetches=not no_download,
            as_json=as_json,
        )
        person = None if yes or as_json or "-" in (discord_token_file, telegram_token_file) else find_person()

        def install_model(wish: install.Wish, ask: Any) -> dict[str, Any]:
            done: list[dict[str, Any]] = []

            async def work() -> int:
                done.append(await install.install(session.composition, loaded, wish, ask))
                return 0

            code = running.run_until_done(work())
            if code:
                raise typer.Exit(code)
            return done[0]

        return set_up(session.composition, loaded, answers, person, install_model)


def _read(path: str | None) -> str | None:
    """Raises: BadInput."""
    if path is None:
        return None
    try:
        return sys.stdin.readline() if path == "-" else Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}.") from error
