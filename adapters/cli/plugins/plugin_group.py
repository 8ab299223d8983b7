"""The arguments of `easel plugins list`, `enable`, `disable`, `new` and `run`."""

from typing import Annotated

import typer

from adapters.cli.options import CONFIG, DATA_DIR, JSON, OUT, make_group
from adapters.cli.session import Session, run_until_done

PLUGIN = Annotated[str, typer.Argument(metavar="NAME", help="Plugin, as shown by `plugins list`")]


def plugin_group(session: Session) -> typer.Typer:
    plugins = make_group()
    _add_list(plugins, session)
    _add_switch(plugins, session, "enable", "Switch a plugin on, now and after every start", is_enabled=True)
    _add_switch(plugins, session, "disable", "Switch a plugin off, now and after every start", is_enabled=False)
    _add_new(plugins, session)
    _add_run(plugins, session)
    return plugins


def _add_list(plugins: typer.Typer, session: Session) -> None:
    @plugins.command("list", help="List the plugins, in the order in which they are called")
    def listing(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.plugins import plugin_client

        loaded = session.load_config(config, data_dir)
        return run_until_done(plugin_client.list_plugins(loaded, as_json=as_json))


def _add_switch(plugins: typer.Typer, session: Session, name: str, summary: str, *, is_enabled: bool) -> None:
    @plugins.command(name, help=summary)
    def switch(plugin: PLUGIN, as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.plugins import plugin_client

        loaded = session.load_config(config, data_dir)
        return run_until_done(plugin_client.switch_plugin(loaded, plugin, is_enabled=is_enabled, as_json=as_json))


def _add_run(plugins: typer.Typer, session: Session) -> None:
    @plugins.command(
        help="Run a command of a plugin, as in: plugins run poster Jazz --mood loud",
        context_settings={"ignore_unknown_options": True},
    )
    def run(
        command: Annotated[str, typer.Argument(metavar="COMMAND", help="Command, as shown by `plugins list --json`")],
        words: Annotated[
            list[str] | None, typer.Argument(metavar="[WORDS]...", help="Words and options, as they are typed in chats")
        ] = None,
        out: OUT = None,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.plugins.run_command import run_plugin_command

        loaded = session.load_config(config, data_dir)
        line = " ".join(words or ())
        return run_until_done(run_plugin_command(session.composition, loaded, command, line, out=out, as_json=as_json))


def _add_new(plugins: typer.Typer, session: Session) -> None:
    @plugins.command(help="Write a plugin to begin with into the data directory")
    def new(
        name: Annotated[str, typer.Argument(metavar="NAME", help="a to z, 0 to 9 and - between them")],
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.plugins import new_plugin

        loaded = session.load_config(config, data_dir)
        return new_plugin.write_plugin(loaded.data_dir, name, as_json=as_json)
