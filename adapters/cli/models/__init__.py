"""`easel models`: list, install and remove models."""
