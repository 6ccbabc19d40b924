"""One file per method: a function ``method`` that returns a ``Method``, named by its YAML in configs/method."""
