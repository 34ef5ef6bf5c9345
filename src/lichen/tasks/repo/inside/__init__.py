"""Modules that run beside the user's project, not in lichen: they import nothing of it.

This folder itself is put on ``sys.path`` there, so each has a name that no project has.
"""
