"""`easel plugins`: lists, switches and begins plugins."""
