"""Where a model's components live, and in which number format."""
