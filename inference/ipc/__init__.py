"""Messages and pipes between the parent and its child processes. No torch; both sides import it."""
