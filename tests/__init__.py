"""The tests. A package, so that no installed library with a stray `tests` of its own is taken for it."""
