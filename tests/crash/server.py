"""`python main.py serve` with engines that do what the prompt says: `python -m tests.crash.server`."""

import asyncio
import sys
from dataclasses import replace

from bot.errors import StartupError
from composition.server import serve
from composition.settings import load_settings
from tests.crash.crash_server import TEST_ENGINES, test_models

if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(serve(replace(load_settings(), models=test_models()), engines=TEST_ENGINES)))
    except StartupError as error:
        sys.exit(error.sentence)
