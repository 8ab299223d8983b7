"""Builds the command line from the registered commands and runs it."""

import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.cli import error_output, file_arguments, output
from adapters.cli.admin_commands import add_admin_commands
from adapters.cli.correct_command import add_correct_command
from adapters.cli.history_commands import add_history_commands
from adapters.cli.mcp_command import add_mcp_command
from adapters.cli.options import CONFIG, DATA_DIR, JSON, make_group
from adapters.cli.output import with_image_wording
from adapters.cli.ports import CompositionRoot
from adapters.cli.session import Session, run_until_done
from adapters.cli.usage import UsageError, explain_usage
from bot.commands import COMMANDS, Answer, Caption, Command, Grid
from bot.commands.image_flags import FlagSpec, flags_of
from bot.options import OptionSpec, is_yes_or_no

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def run_cli(composition: CompositionRoot, arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Every error is reported as one sentence."""
    given = _fill_switches(sys.argv[1:] if arguments is None else arguments)
    output.replace_unencodable()
    session = Session(composition)
    app = _build_app(session)
    _keep_only(app, given[0] if given else "")
    command = typer.main.get_command(app)
    as_json = "--json" in given
    try:
        code = command.main(args=given, prog_name=output.program_name(), standalone_mode=False)
        return code if isinstance(code, int) else 0
    except UsageError as error:
        return error_output.report_error(error_output.BadInput(explain_usage(error, given)), as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return error_output.INTERRUPTED
    except Exception as error:
        if error_output.is_broken_pipe(error):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return error_output.FAILED
        return error_output.report_error(error, as_json=as_json, log_file=session.log_file)


def _fill_switches(arguments: Sequence[str]) -> list[str]:
    """With the value that an option such as `--enhance` may be typed without, as in a chat: yes."""
    kind = COMMANDS.get(arguments[0]) if arguments else None
    specs = [spec for spec in kind.specs if spec.kind is bool] if kind is not None else []
    switches = {_normalize_flag(f"--{name}") for spec in specs for name in (spec.name, *spec.aliases)}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    filled: list[str] = []
    for place, (word, following) in enumerate(zip(arguments, [*arguments[1:], ""], strict=False)):
        is_bare = place < end and _normalize_flag(word) in switches and not (following and is_yes_or_no(following))
        filled += [word, "yes"] if is_bare else [word]
    return filled


def build_cli(composition: CompositionRoot) -> typer.Typer:
    return _build_app(Session(composition))


def _build_app(session: Session) -> typer.Typer:
    app = make_group(
        help="Easel: generate images and ask about them on Discord, Telegram and the web",
        context_settings={"help_option_names": ["--help", "-h"], "token_normalize_func": _normalize_flag},
    )
    app.callback()(_root_options)
    _add_serve(app, session)
    for command_class in COMMANDS.values():
        _add_job_command(app, session, command_class)
    add_history_commands(app, session)
    add_correct_command(app, session)
    add_admin_commands(app, session)
    add_mcp_command(app, session)
    return app


def _keep_only(app: typer.Typer, word: str) -> None:
    """Typer reads the signature of every command that is registered, a quarter of the time of a short one."""
    commands = [one for one in app.registered_commands if (one.name or getattr(one.callback, "__name__", "")) == word]
    groups = [group for group in app.registered_groups if group.name == word]
    if commands or groups:
        app.registered_commands, app.registered_groups = commands, groups


def _normalize_flag(token: str) -> str:
    """`--guidance_scale` and `--guidance-scale` are the same option."""
    return token.replace("_", "-").lower()


def _show_version(wanted: bool) -> None:
    if wanted:
        output.print_line(f"easel {_version()}")
        raise typer.Exit(0)


def _version() -> str:
    """The version of the clone; the installed metadata may be older."""
    import tomllib
    from importlib.metadata import version

    try:
        return str(tomllib.loads(PROJECT.read_text("utf-8"))["project"]["version"])
    except OSError:  # installed without its clone
        return version("easel")


def _root_options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options before the command."""


def _add_serve(app: typer.Typer, session: Session) -> None:
    @app.command(help="Run the server")
    def serve(
        host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on (web.host)")] = None,
        port: Annotated[str | None, typer.Option(metavar="NUMBER", help="Port to listen on (web.port)")] = None,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        import asyncio

        loaded = session.load_config(config, data_dir, console=True, web__host=host, web__port=port)

        async def serving() -> int:
            return await session.composition.serve(loaded)

        return asyncio.run(serving())


# ---------------------------------------------------------------- one-shot commands


def _add_job_command(app: typer.Typer, session: Session, command_class: type[Command]) -> None:
    """Add a function whose signature is built from the command's options, which typer reads as usual."""

    def job_command(**given: Any) -> int:
        from adapters.cli.image_arguments import image_arguments, read_images
        from adapters.cli.job_commands import parse_request, run_jobs

        if _has_several_arguments(command_class):
            given |= _split_arguments(command_class, given.pop("arguments"))
        typed = {spec.name: _typed_values(spec, given[spec.name]) for spec in command_class.specs if given[spec.name]}
        image_files = (*(given.get("images") or filter(None, (given.get("main_image"),))), *(given.get("image") or ()))
        is_together = given.get("together", False)
        is_several = command_class.is_per_image and not is_together
        is_several = is_several and (file_arguments.is_several(image_files) or given.get("write_sidecars", False))
        if is_together:
            image_files = tuple(file_arguments.list_files(image_files))
        chosen = image_files[:1] if is_several else image_files
        parsed = parse_request(
            command_class,
            typed,
            image_arguments(command_class, chosen, given.get("mask") or "", given),
            out=given.get("out"),
            as_json=given["as_json"],
            is_confirmed=given.get("yes", False),
        )
        loaded = session.load_config(given["config"], given["data_dir"])
        if is_several:
            from adapters.cli.file_jobs import run_file_jobs

            files = file_arguments.expand_folders(image_files)
            if given.get("write_sidecars"):
                from adapters.cli.sidecars import plan_sidecars

                files = plan_sidecars(files)
            files = file_arguments.read_streams(files, loaded.settings["images"])
            sidecars = given.get("write_sidecars", False)
            return run_until_done(run_file_jobs(session.composition, loaded, parsed, files, sidecars=sidecars))
        image_data = read_images(parsed.images, loaded.settings["images"])
        if command_class is Grid:
            from adapters.cli.grid_jobs import run_grid

            grid = run_grid(session.composition, loaded, parsed, image_data, with_cells=given["cells"])
            return run_until_done(grid)
        return run_until_done(run_jobs(session.composition, loaded, parsed, image_data))

    parameters = _command_parameters(command_class)
    job_command.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    job_command.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": int}
    app.command(command_class.name, help=with_image_wording(command_class.summary))(job_command)


def _split_arguments(command_class: type[Command], arguments: Sequence[str]) -> dict[str, Any]:
    """`images`, and the main option by its name."""
    images, texts = file_arguments.split_arguments(command_class, arguments)
    main = next((spec for spec in command_class.specs if spec.is_main), None)
    if main is None:
        return {"images": images}
    return {"images": images, main.name: texts if main.separator else "".join(texts)}


def _typed_values(spec: OptionSpec, value: str | list[str]) -> list[str]:
    """Every value of an option; several texts of the main option are joined into one."""
    if isinstance(value, str):
        return [value]
    return [f" {spec.separator} ".join(value)] if spec.is_main else list(value)


def _command_parameters(command_class: type[Command]) -> list[inspect.Parameter]:
    makes_images = command_class.answers is Answer.IMAGES
    parameters = []
    has_several = _has_several_arguments(command_class)
    if has_several:
        metavar = file_arguments.arguments_metavar(command_class)
        arguments = typer.Argument(metavar=metavar, help=_arguments_help(command_class), show_default=False)
        parameters.append(_parameter("arguments", list[str], arguments, inspect.Parameter.empty))
    elif command_class.images_needed:
        main_image = typer.Argument(metavar="IMAGE", help="Image file, or - for stdin", show_default=False)
        parameters.append(_parameter("main_image", str, main_image, inspect.Parameter.empty))
    for spec in sorted(command_class.specs, key=lambda spec: not spec.is_main):
        if spec.is_main and has_several:
            continue
        parameters.append(_option_parameter(spec))
    if command_class.images_allowed > command_class.images_needed and not has_several:
        what = (
            "Reference image, if the model supports several; repeatable"
            if command_class.images_needed
            else "Input image to start from"
        )
        image = typer.Option("--image", metavar="FILE", help=f"{what}; - for stdin")
        parameters.append(_parameter("image", list[str] | None, image, None))
    if command_class.is_per_image and command_class.images_allowed > 1:
        together = typer.Option("--together", help="One question about all images, if the model sees several together")
        parameters.append(_parameter("together", bool, together, False))
    if command_class is Caption:
        sidecars = typer.Option("--write-sidecars", help="Also write each caption into a text file beside its image")
        parameters.append(_parameter("write_sidecars", bool, sidecars, False))
    if "mask" in command_class.further_images:
        help_text = "Inpainting mask: white, or what is drawn on a clear canvas, is regenerated"
        mask = typer.Option("--mask", metavar="FILE|JOB", help=help_text)
        parameters.append(_parameter("mask", str | None, mask, None))
    parameters += [_image_flag_parameter(flag) for flag in flags_of(command_class.roles[1:])]
    if makes_images:
        what = "Output folder or file (default: the current folder); never overwrites"
        out = typer.Option("--out", "-o", metavar="DIR|FILE", help=what)
        all_of_it = "cells of the grid" if command_class is Grid else "{a|b} combinations"
        yes = typer.Option("--yes", help=f"Generate all {all_of_it} without confirmation")
        parameters += [_parameter("out", str | None, out, None), _parameter("yes", bool, yes, False)]
    if command_class is Grid:
        cells = typer.Option("--cells", help="Also write the images of the cells")
        parameters.append(_parameter("cells", bool, cells, False))
    as_json = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JSON)
    parameters.append(as_json)
    for name, annotation in (("config", CONFIG), ("data_dir", DATA_DIR)):
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return parameters


def _arguments_help(command_class: type[Command]) -> str:
    files = "Image files and folders, or - for stdin"
    main = next((spec for spec in command_class.specs if spec.is_main), None)
    return files if main is None else f"{files}; then {with_image_wording(main.help[:1].lower() + main.help[1:])}"


def _has_several_arguments(command_class: type[Command]) -> bool:
    """Whether its arguments are several images: as many requests, or one about all of them."""
    return command_class.is_per_image or command_class.images_needed > 1


def _image_flag_parameter(flag: FlagSpec) -> inspect.Parameter:
    metavar = "KIND:FILE|JOB[:WEIGHT[:START[:END]]][:ready]" if flag.has_kind else "FILE|JOB[:WEIGHT]"
    text = f"{with_image_wording(flag.help)}; repeatable" + "; ready: it is such a map already" * flag.has_kind
    option = typer.Option(f"--{flag.name}", metavar=metavar, help=text)
    return _parameter(flag.name.replace("-", "_"), list[str] | None, option, None)


def _option_parameter(spec: OptionSpec) -> inspect.Parameter:
    """Values stay raw text: the grammar of `bot.options` parses them, as on every platform."""
    if spec.is_main:
        metavar = spec.name.upper() + "..." * bool(spec.separator)
        argument = typer.Argument(metavar=metavar, help=with_image_wording(spec.help), show_default=False)
        value_type = list[str] if spec.separator else str
        return _parameter(spec.name, value_type, argument, inspect.Parameter.empty if spec.is_required else "")
    names = [f"--{name.replace('_', '-')}" for name in (spec.name, *spec.aliases)]
    metavar = {int: "NUMBER", float: "NUMBER", bool: "[YES|NO]"}.get(spec.kind, "TEXT")
    option = typer.Option(*names, metavar=metavar, help=_option_help(spec), show_default=False)
    return _parameter(spec.name, list[str] | None, option, None)


def _option_help(spec: OptionSpec) -> str:
    """The help with its range or choices in parentheses, joined with a default that it already has there."""
    allowed = f"one of {', '.join(spec.choices)}" if spec.choices else "" if spec.kind is str else spec.allowed
    text = with_image_wording(spec.help)
    if not allowed:
        return text
    has_default = "(default" in text and text.endswith(")")
    return f"{text.removesuffix(')')}; {allowed})" if has_default else f"{text} ({allowed})"


def _parameter(name: str, value_type: Any, info: Any, default: Any) -> inspect.Parameter:
    annotation = Annotated[value_type, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
