"""Where a model's components are placed, and in which number format."""
