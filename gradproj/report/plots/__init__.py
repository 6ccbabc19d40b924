"""A file for each kind of plot."""
