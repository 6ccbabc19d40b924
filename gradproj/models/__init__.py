"""One file per model; each is a class found through the ``_target_`` of its YAML in configs/model."""
