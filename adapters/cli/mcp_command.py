"""`easel mcp`: the tools for a program on this computer that starts it and speaks MCP over stdin and stdout."""

from importlib.util import find_spec

import typer

from adapters.cli.options import CONFIG, DATA_DIR
from adapters.cli.session import Session, run_until_done

NOT_INSTALLED = "MCP is not installed: run `.venv/bin/uv pip install -e '.[mcp]'` in Easel's folder."


def add_mcp_command(app: typer.Typer, session: Session) -> None:
    @app.command(
        help="Serve Easel's commands as tools over stdin and stdout, for programs that speak MCP (Model Context "
        "Protocol). Such a program starts this itself: docs/clients.md has its settings",
        short_help="Serve MCP over stdin and stdout",
    )
    def mcp(config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        if find_spec("mcp") is None:
            from adapters.cli.error_output import Failure

            raise Failure(NOT_INSTALLED, code="not_installed")
        loaded = session.load_config(config, data_dir)

        from adapters.cli.mcp_server import serve_stdio

        return run_until_done(serve_stdio(session.composition, loaded))
