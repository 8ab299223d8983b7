"""`python main.py serve` with engines that do what the prompt says: `python -m tests.crash.server`."""

import asyncio
import sys
from dataclasses import replace

import main
from bot.errors import StartupError
from tests.crash.victim import TEST_ENGINES, test_models

if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main.serve(replace(main.load(), models=test_models()), engines=TEST_ENGINES)))
    except StartupError as error:
        sys.exit(error.sentence)
