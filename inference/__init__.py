"""Generates images and text in child processes; the only package that works with tensors.

Importing the package, or any module that the parent process uses, imports no torch.
"""
