"""Verification: two models, the same questions, three axes, one verdict with its evidence.

`examine.examine` is a run from two models to a record; `record` is what a run leaves behind.
Import from the modules: readers of records must not pay for those who make them.
"""
