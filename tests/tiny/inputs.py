"""Prompts and pictures on which scorers differ most: those that `gradproj verify` brings along."""

from gradproj.execution.verify.shipped import PROMPTS, SEED, SIZES, pictures

__all__ = ["PROMPTS", "SEED", "SIZES", "pictures"]
