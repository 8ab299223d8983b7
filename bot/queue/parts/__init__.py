"""What a job runs beside its main task; each part is a class in a file of its own, wired in `composition/parts.py`."""
