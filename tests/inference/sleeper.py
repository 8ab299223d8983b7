"""A child process that runs until it is killed: `python -m tests.inference.sleeper`."""

import time

if __name__ == "__main__":
    time.sleep(60)
