"""Downloads from model hubs, in a child process of its own."""
