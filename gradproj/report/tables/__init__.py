"""A file for each table, whose name the written files have: ``TITLE``, and ``table(comparison)``, without rows if there
is nothing to say.
"""
