"""The prompt language of the miniature: "a <colour> <shape>", optionally "and a <colour> <shape>"."""

import re
from collections.abc import Sequence
from itertools import product

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
SHAPES = ("circle", "square", "triangle", "ring", "cross")
ABSENT = len(COLOURS) * len(SHAPES)  # the second object's index in a scene with a single object
OBJECTS = tuple(product(COLOURS, SHAPES))  # index = colour * len(SHAPES) + shape

_OBJECT = r"an? (\w+) (\w+)"
_SENTENCE = re.compile(rf"{_OBJECT}(?: and {_OBJECT})?")


def parse(prompt: str) -> tuple[int, int]:
    """The indices in ``OBJECTS`` of the first and the second object; the second is ``ABSENT`` if only one is named.

    Upper case, extra spaces and a closing full stop are allowed. Raises ``ValueError``, which has the vocabulary, for
    any other sentence.
    """
    sentence = " ".join(prompt.lower().rstrip(" .").split())
    match = _SENTENCE.fullmatch(sentence)
    words = [word for word in match.groups() if word] if match else []
    try:
        objects = [OBJECTS.index((colour, shape)) for colour, shape in zip(words[::2], words[1::2], strict=True)]
    except ValueError:
        objects = []
    if not objects:
        raise ValueError(
            f"the miniature (model=shapes) cannot read the prompt {prompt!r}: it knows 'a red ring' and "
            f"'a blue square and a white circle', colours {', '.join(COLOURS)}; shapes {', '.join(SHAPES)}; "
            "for any other text type model=sd_turbo reward=pickscore (gradproj list)"
        )
    return objects[0], objects[1] if len(objects) == 2 else ABSENT


def parse_all(prompts: Sequence[str]) -> list[tuple[int, int]]:
    """``parse`` of every prompt."""
    return [parse(prompt) for prompt in prompts]


class ReadsCaptions:
    """What the miniature's parts that read prompts have in common: they know which prompts they can read."""

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """``ValueError`` for the first prompt that is no caption of coloured shapes; needs no weights."""
        parse_all(prompts)


def sentence(first: int, second: int = ABSENT) -> str:
    """The caption of one or two objects: the inverse of ``parse``."""
    return " and ".join(_noun(*OBJECTS[index]) for index in (first, second) if index != ABSENT)


def _noun(colour: str, shape: str) -> str:
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}"
