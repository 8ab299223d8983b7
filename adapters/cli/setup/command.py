"""The arguments of `setup`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.cli.error_output import BadInput
from adapters.cli.options import CONFIG, DATA_DIR, JSON
from adapters.cli.session import Session, run_until_done

TOKEN_FILE = "FILE|-"


def add_setup(app: typer.Typer, session: Session) -> None:
    @app.command(
        help="Set up models, bot tokens and admins, interactively or by options",
        short_help="Set up models, bot tokens and admins",
    )
    def setup(
        image: Annotated[str | None, typer.Option(metavar="NAME|none", help="Model for image generation")] = None,
        vision: Annotated[
            str | None, typer.Option(metavar="NAME|none", help="Model for captions and questions")
        ] = None,
        discord_token_file: Annotated[
            str | None, typer.Option(metavar=TOKEN_FILE, help="File with the Discord bot token; - for stdin")
        ] = None,
        telegram_token_file: Annotated[
            str | None, typer.Option(metavar=TOKEN_FILE, help="File with the Telegram bot token; - for stdin")
        ] = None,
        discord_admin: Annotated[
            list[str] | None, typer.Option(metavar="ID", help="Discord account id of an admin; repeatable")
        ] = None,
        telegram_admin: Annotated[
            list[str] | None, typer.Option(metavar="ID", help="Telegram account id of an admin; repeatable")
        ] = None,
        accept_licence: Annotated[
            list[str] | None, typer.Option(metavar="NAME", help="Accept this model's licence; repeatable")
        ] = None,
        yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; install the recommended models")] = False,
        no_download: Annotated[bool, typer.Option("--no-download", help="Do not download models now")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.models import install
        from adapters.cli.setup.prompt import find_prompter
        from adapters.cli.setup.wizard import SetupAnswers, run_setup

        loaded = session.load_config(config, data_dir)
        answers = SetupAnswers(
            models={"image": image, "vision": vision},
            tokens={"discord": _read_token_file(discord_token_file), "telegram": _read_token_file(telegram_token_file)},
            admins={
                "discord": tuple(discord_admin) if discord_admin else None,
                "telegram": tuple(telegram_admin) if telegram_admin else None,
            },
            accepted_licences=tuple(accept_licence or ()),
            use_recommended=yes,
            download=not no_download,
            as_json=as_json,
        )
        prompter = None if yes or as_json or "-" in (discord_token_file, telegram_token_file) else find_prompter()

        def install_model(request: install.InstallRequest, confirm: Any) -> dict[str, Any]:
            statuses: list[dict[str, Any]] = []

            async def work() -> int:
                statuses.append(await install.install_model(session.composition, loaded, request, confirm))
                return 0

            code = run_until_done(work())
            if code:
                raise typer.Exit(code)
            return statuses[0]

        return run_setup(session.composition, loaded, answers, prompter, install_model)


def _read_token_file(path: str | None) -> str | None:
    """Raises: BadInput."""
    if path is None:
        return None
    try:
        return sys.stdin.readline() if path == "-" else Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}.") from error
