"""The composition root: settings -> storage -> pool -> platforms -> run.

The only package that imports all others. It only wires them and makes no decisions of its own. Packages are imported
where they are needed, which keeps `--help` fast.
"""
