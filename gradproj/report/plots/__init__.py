"""A file per kind of plot."""
