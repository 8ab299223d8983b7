"""`python -m inference.worker PARENT_PID NICE`."""

from inference.engine.library_logs import mute_libraries
from inference.worker.loop import main

if __name__ == "__main__":
    mute_libraries()
    main()
