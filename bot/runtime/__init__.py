"""Process infrastructure: the data directory's lock, logs, shutdown, durable files."""
