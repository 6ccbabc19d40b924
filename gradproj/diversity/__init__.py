"""Diversity of a set of pictures: Inception score and Vendi score.

``measures`` takes arrays and answers numbers. ``of_run`` goes from a run's pictures to its diversity.csv, which
``gradproj.runs.diversity`` reads and writes. ``features/`` has a file for each network that sees the pictures.
"""

from gradproj.diversity.measures import Measures, inception_score, measure, vendi, vendi_per_prompt

__all__ = ["Measures", "inception_score", "measure", "vendi", "vendi_per_prompt"]
