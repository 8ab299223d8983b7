"""Builds the command line out of the commands there are, and runs it."""

import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.cli import error_output, output
from adapters.cli import session as running
from adapters.cli.admin_commands import add_chores
from adapters.cli.options import CONFIG, DATA_DIR, JSON, make_group
from adapters.cli.ports import Composition
from adapters.cli.session import Session
from adapters.cli.usage import UsageError, explain_usage
from bot.commands import COMMANDS, Command
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.options import OptionSpec

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_PICTURES = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_TEXT_TO_IMAGE)


def run(composition: Composition, arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Whatever goes wrong is told in a sentence."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    output.never_fail_on_letters()
    session = Session(composition)
    command = typer.main.get_command(_build(session))
    as_json = "--json" in given
    try:
        code = command.main(args=given, prog_name=output.program(), standalone_mode=False)
        return code if isinstance(code, int) else 0
    except UsageError as error:
        return error_output.report(error_output.BadInput(explain_usage(error)), as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return error_output.INTERRUPTED
    except BrokenPipeError:  # whoever read us has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error_output.FAILED
    except Exception as error:
        return error_output.report(error, as_json=as_json, log_file=session.log_file)


def build(composition: Composition) -> typer.Typer:
    return _build(Session(composition))


def _build(session: Session) -> typer.Typer:
    app = make_group(
        help="Easel: pictures and answers, on Discord, Telegram and the web.",
        context_settings={"help_option_names": ["--help", "-h"], "token_normalize_func": _as_flag},
    )
    app.callback()(_root)
    _add_serve(app, session)
    for kind in COMMANDS.values():
        _add_one_shot(app, session, kind)
    add_chores(app, session)
    return app


def _as_flag(token: str) -> str:
    """`--guidance_scale` is `--guidance-scale`."""
    return token.replace("_", "-").lower()


def _show_version(wanted: bool) -> None:
    if wanted:
        output.tell(f"easel {_version()}")
        raise typer.Exit(0)


def _version() -> str:
    """The clone's own: what was installed from it may be older."""
    import tomllib
    from importlib.metadata import version

    try:
        return str(tomllib.loads(PROJECT.read_text("utf-8"))["project"]["version"])
    except OSError:  # installed without its clone
        return version("easel")


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options before the command."""


def _add_serve(app: typer.Typer, session: Session) -> None:
    @app.command(help="Start everything that is switched on, and stay until stopped")
    def serve(
        host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where to listen; web.host")] = None,
        port: Annotated[str | None, typer.Option(metavar="NUMBER", help="Where to listen; web.port")] = None,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        import asyncio

        loaded = session.load(config, data_dir, console=True, web__host=host, web__port=port)

        async def serving() -> int:
            return await session.composition.serve(loaded)

        return asyncio.run(serving())


# ---------------------------------------------------------------- one-shot commands


def _add_one_shot(app: typer.Typer, session: Session, kind: type[Command]) -> None:
    """A function whose signature is the command's options; typer reads it like any other."""

    def one_shot(**given: Any) -> int:
        from adapters.cli.job_commands import ask, read_asked, read_pictures

        typed = {spec.name: _as_list(spec, given[spec.name]) for spec in kind.specs if given[spec.name]}
        pictures = (*filter(None, (given.get("picture"),)), *(given.get("image") or ()))
        mask = given.get("mask") or ""
        asked = read_asked(
            kind,
            typed,
            pictures,
            mask=mask,
            out=given.get("out"),
            as_json=given["as_json"],
            yes=given.get("yes", False),
        )
        loaded = session.load(given["config"], given["data_dir"])
        bodies = read_pictures(asked, loaded)
        return running.run_until_done(ask(session.composition, loaded, asked, bodies))

    parameters = _parameters(kind)
    one_shot.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    one_shot.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": int}
    app.command(kind.name, help=kind.summary)(one_shot)


def _as_list(spec: OptionSpec, value: str | list[str]) -> list[str]:
    """Every value of an option; several texts of the main one are one."""
    if isinstance(value, str):
        return [value]
    return [f" {spec.separator} ".join(value)] if spec.is_main else list(value)


def _parameters(kind: type[Command]) -> list[inspect.Parameter]:
    makes_pictures = kind(values={}, images=()).task in _PICTURES
    parameters = []
    if kind.images_needed:
        picture = typer.Argument(metavar="IMAGE", help="A picture's file, or - for stdin", show_default=False)
        parameters.append(_parameter("picture", str, picture, inspect.Parameter.empty))
    for spec in sorted(kind.specs, key=lambda spec: not spec.is_main):
        parameters.append(_of_spec(spec))
    if kind.images_allowed > kind.images_needed:
        what = (
            "A further picture to refer to, where the model takes several"
            if kind.images_needed
            else "A picture to start from"
        )
        image = typer.Option("--image", metavar="FILE", help=f"{what}; - for stdin")
        parameters.append(_parameter("image", list[str] | None, image, None))
    if kind.accepts_mask:
        mask = typer.Option("--mask", metavar="FILE", help="What to make anew of that picture: white; black is kept")
        parameters.append(_parameter("mask", str | None, mask, None))
    if makes_pictures:
        out = typer.Option(
            "--out", "-o", metavar="DIR|FILE", help="Where to write; this folder when not given. Never overwrites"
        )
        yes = typer.Option("--yes", help="Make all of several {a|b} combinations without asking")
        parameters += [_parameter("out", str | None, out, None), _parameter("yes", bool, yes, False)]
    as_json = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JSON)
    parameters.append(as_json)
    for name, annotation in (("config", CONFIG), ("data_dir", DATA_DIR)):
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return parameters


def _of_spec(spec: OptionSpec) -> inspect.Parameter:
    """Raw text: the grammar of `bot.options` reads it, as everywhere."""
    if spec.is_main:
        metavar = spec.name.upper() + "..." * bool(spec.separator)
        argument = typer.Argument(metavar=metavar, help=spec.help, show_default=False)
        kind = list[str] if spec.separator else str
        return _parameter(spec.name, kind, argument, inspect.Parameter.empty if spec.is_required else "")
    names = [f"--{name.replace('_', '-')}" for name in (spec.name, *spec.aliases)]
    metavar = {int: "NUMBER", float: "NUMBER", bool: "YES|NO"}.get(spec.kind, "TEXT")
    limits = "" if spec.kind is str else f" ({spec.allowed})" if spec.allowed else ""
    choices = f" ({', '.join(spec.choices)})" if spec.choices else ""
    option = typer.Option(*names, metavar=metavar, help=f"{spec.help}{limits}{choices}", show_default=False)
    return _parameter(spec.name, list[str] | None, option, None)


def _parameter(name: str, kind: Any, info: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])
