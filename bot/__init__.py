"""The core of Easel: commands, jobs, fairness, delivery. It knows no platform, tensor, web or database library."""
