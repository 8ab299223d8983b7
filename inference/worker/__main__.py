"""`python -m inference.worker PARENT_PID NICE`."""

from inference.worker.loop import main

if __name__ == "__main__":
    main()
