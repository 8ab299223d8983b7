"""What this machine has: devices, memory, disk."""
