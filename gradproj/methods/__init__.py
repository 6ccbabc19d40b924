"""A file for each method, with a function ``method`` that returns a ``Method``. Its YAML in configs/method names it."""
