"""Diversity of a set of pictures: Inception score and Vendi score.

``measures`` arrays in, numbers out · ``file`` a run's diversity.csv · ``of_run`` from a run's pictures to that file.
Nothing here imports torch until a number is asked for, so that the report can read the files.
"""

from gradproj.diversity.measures import Measures, inception_score, measure, vendi, vendi_per_prompt

__all__ = ["Measures", "inception_score", "measure", "vendi", "vendi_per_prompt"]
