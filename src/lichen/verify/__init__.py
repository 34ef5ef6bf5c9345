"""Verification: two models, the same questions, three axes, one verdict with its evidence.

`examine.examine` is a run from two models to a record, `rescore.rescore` one from its own files;
`record` is what a run leaves behind, and `reader` reads it.
Import from the modules: readers of records must not pay for those who make them.
"""
