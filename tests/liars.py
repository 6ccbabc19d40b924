"""Rewards that break the protocol, each in one way; tests/bad_inputs.yaml says how they are refused."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class NotANumber:
    """A score that is not finite."""

    weights: Mapping[str, str] = {}

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Any:
        return torch.full((len(pictures),), torch.nan)


class WrongShape:
    """One score for all pictures."""

    weights: Mapping[str, str] = {}

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Any:
        return torch.zeros(())


class Weightless:
    """Does not say what its scores depend on."""

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Any:
        return torch.zeros(len(pictures))


class Doubling(Weightless):
    """Changes a setting of torch that is everybody's, when it is made."""

    weights: Mapping[str, str] = {}

    def __init__(self) -> None:
        torch.set_default_dtype(torch.float64)


class DoublingLater(Doubling):
    """The same, when it scores."""

    def __init__(self) -> None:
        pass

    def score(self, pictures: Sequence[Any], prompts: Sequence[str]) -> Any:
        torch.set_default_dtype(torch.float64)
        return super().score(pictures, prompts)
