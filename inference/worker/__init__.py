"""The worker process of one device: `python -m inference.worker`."""
