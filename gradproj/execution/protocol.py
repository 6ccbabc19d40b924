"""A reward's answers held against ``types.Reward``: a mistake in its code is told in a line that names its class.

Rewards may be anyone's code. What is wrong with the code is a ``UserError`` about the reward, so that no image is
blamed for it; what is wrong with one image (a ``ValueError`` or ``RuntimeError`` of the reward) is left to the caller.
"""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gradproj.errors import UserError

MISTAKES = (TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, NameError, NotImplementedError)
ENDINGS = (SystemExit, StopIteration)  # would end the program or a loop of it as if all were done


def described(name: str, part: Any) -> str:
    """The part's name and class, as a message names it: ``red (my_rewards.Red)``."""
    return f"{name} ({type(part).__module__}.{type(part).__qualname__})"


def weights(name: str, part: Any) -> dict[str, str]:
    """A model's or reward's ``weights``: file -> sha256 or revision. ``UserError`` where it has none, or others."""
    with blaming(name, part, "weights"):
        found = part.weights
    if not isinstance(found, Mapping) or not all(isinstance(text, str) for pair in found.items() for text in pair):
        raise UserError(
            f"{described(name, part)}: weights must map every file to its sha256 or revision, or be empty; "
            f"got {found!r}"
        )
    return dict(found)


def climb(name: str, reward: Any, image: Tensor, text: Any) -> Tensor:
    """``reward(image, text)``: one score for each of the b pictures, shape (b,), floating point.

    The reward gets a copy: one that writes into its input changes neither the picture nor another reward's score.
    """
    with blaming(name, reward, "__call__"):
        answer = reward(image.clone(), text)
    return _one_each(name, reward, "__call__", answer, len(image))


def score(name: str, reward: Any, pictures: Sequence[Any], prompts: Sequence[str]) -> Tensor:
    """``reward.score(...)`` of copies: one score for each of the b pictures, shape (b,), floating point."""
    with blaming(name, reward, "score"):
        answer = reward.score([picture.copy() for picture in pictures], list(prompts))
    return _one_each(name, reward, "score", answer, len(pictures))


@contextmanager
def blaming(name: str, part: Any, call: str) -> Iterator[None]:
    """Tell a mistake in the code of ``part`` as a ``UserError`` with the file and line where it is."""
    try:
        with keeping_dtype(f"{described(name, part)}: {call}"):
            yield
    except (*MISTAKES, *ENDINGS) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"{described(name, part)}: {call} raised {reason} ({place.filename}:{place.lineno})") from error


@contextmanager
def keeping_dtype(who: str) -> Iterator[None]:
    """``UserError`` where ``who`` leaves torch with another default dtype, by which every other part would break."""
    before = torch.get_default_dtype()
    try:
        yield
    finally:
        after = torch.get_default_dtype()
        torch.set_default_dtype(before)
    if after is not before:
        raise UserError(f"{who} set torch's default dtype to {after}, for every part: give dtype={after} where needed")


def _one_each(name: str, reward: Any, call: str, answer: Any, count: int) -> Tensor:
    if isinstance(answer, Tensor) and answer.shape == (count,) and answer.is_floating_point():
        return answer
    came = f"{answer.dtype} of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
    raise UserError(
        f"{described(name, reward)}: {call} must answer a floating-point tensor of shape ({count},), one score for "
        f"each of {count} pictures; it answered {came}"
    )
