"""A file for each table. The written files have the name of that file.

Each has a ``TITLE`` and a function ``table(comparison)``, whose table has no rows where there is nothing to say.
"""
