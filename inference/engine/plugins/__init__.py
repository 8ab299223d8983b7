"""The worker's side of plugins: finds and imports them in the child, and calls their hooks."""
