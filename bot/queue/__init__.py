"""The job queue's moving parts: dispatch, delivery, retries, progress, ETA and prices."""
