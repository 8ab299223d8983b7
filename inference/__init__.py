"""Makes pictures and answers in child processes; the only room that knows tensors.

Importing the package, or anything that the parent process uses of it, imports no torch.
"""
