"""What a running process needs: the data directory's lock, logs, shutdown, durable files."""
