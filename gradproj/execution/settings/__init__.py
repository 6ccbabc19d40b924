"""From what a person typed to parts that fit each other, all of it before a weight is loaded.

``compose`` puts the YAML files and the overrides together (Hydra), ``overrides`` reads the command line by Hydra's own
grammar and words its refusals, ``keys`` checks gradproj's own keys and reads prompts, ``parts`` makes models, methods
and rewards of their settings once ``typed`` has held these against the signatures, ``check`` tries whether they fit.
"""
