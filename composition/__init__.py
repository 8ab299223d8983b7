"""The composition root: settings -> storage -> pool -> platforms -> run.

The only package that imports every other one. It decides nothing: what it wires is decided elsewhere. Packages are
imported where they are needed, so that `--help` answers quickly.
"""
