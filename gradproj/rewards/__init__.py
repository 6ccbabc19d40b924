"""One file per reward; each is a class found through the ``_target_`` of its YAML in configs/rewards."""
