"""`easel train`: trains adapters on this machine and shows their report cards."""
