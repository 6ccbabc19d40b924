"""What of a run's settings is ``auto`` is chosen so that the run fits into the GPU's free memory, with the reason.

Nothing that is chosen changes a number by more than rounding, and none of it is in the run's name. What a person typed,
or a YAML file says, stays. Where the prediction (``counted``) is wrong, ``out_of_memory`` is the net beneath.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gradproj.errors import UserError
from gradproj.execution.memory import GIB
from gradproj.execution.memory.counted import CONTEXT, POLICIES, generator, needs, plain
from gradproj.runs.naming import target

Settings = Mapping[str, Any]
CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141)  # GB
MOST = 4  # pictures side by side: beyond them a GPU should gain little, which nobody has measured
FEWER_BITS = ("int8", "nf4")  # of the models that have ``quantization``: never chosen, because it changes the numbers
LADDER = (  # held_out, checkpointing, decoder_checkpointing: from what costs least time on
    ("during", "none", "none"),
    ("during", "none", "blocks"),
    ("during", "blocks", "blocks"),
    ("cpu", "none", "none"),
    ("cpu", "none", "blocks"),
    ("cpu", "blocks", "blocks"),
    ("cpu", "full", "blocks"),
)


@dataclass(frozen=True)
class Plan:
    """``settings`` in which no batch and no place is ``auto``; ``said`` with the reason, "" where nothing was chosen.

    ``predicted``: stage -> bytes, None where nothing is counted. ``refused``: why the GPU is too small, where it is.
    """

    settings: dict[str, Any]
    predicted: dict[str, int] | None = None
    said: str = ""
    refused: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """For env.json."""
        return {"chosen": self.said or None, "predicted_bytes": self.predicted}

    def expect_room(self) -> None:
        """``UserError`` where the GPU is too small for the run."""
        if self.refused:
            raise UserError(self.refused)


def plan(settings: Settings, memory: tuple[int, int] | None) -> Plan:
    """``settings`` with what was ``auto`` chosen for a GPU with ``memory``, its free bytes and all of them; None: none.

    Where nothing is known of the GPU or of the model, or with ``memory=given``, nothing is chosen, and ``auto`` is: no
    checkpointing, the other rewards beside the climbed one, a batch of 1.
    """
    asked = {**settings, **plain(settings)}
    if memory is None or settings["memory"] == "given" or generator(settings) is None:
        return Plan(asked, needs(asked))
    free, _ = memory
    choice, predicted, tried = asked, {}, None  # what does not fit and is next to what does
    for choice in _choices(settings):
        predicted = needs(choice) or {}
        if largest(predicted) <= free:
            return Plan(choice, predicted, _said(choice, predicted, free, tried))
        tried = _changes(choice), largest(predicted)
    return Plan(choice, predicted, refused=_refusal(settings, choice, predicted, memory))


def card(size: int) -> tuple[int, int]:
    """Bytes that are free on a card of ``size`` GB, and all of them: the driver keeps some, torch's start takes some.

    As NVIDIA's cards report: 15.7 GiB of 16, 23.6 of 24, 39.5 of 40, 47.4 of 48, 79.2 of 80.
    """
    total = int(0.985 * size * GIB)
    return total - GIB // 2, total


def largest(predicted: Mapping[str, int]) -> int:
    """Bytes that a card must have free for the largest of the stages."""
    return max(predicted.values()) + CONTEXT


def _choices(settings: Settings) -> Iterator[dict[str, Any]]:
    """The settings with every ``auto`` replaced, from what is quickest to what needs least."""
    memory = settings["model"]["memory"]
    given = (settings["held_out"], *(memory[key] for key in POLICIES))
    steps = [tuple(new if old == "auto" else old for old, new in zip(given, step, strict=True)) for step in LADDER]
    for number, (held_out, *policies) in enumerate(dict.fromkeys(steps)):
        several = range(MOST, 0, -1) if number == 0 else (1,)  # more at a time is no use where work is done twice
        for batch in several if settings["batch"] == "auto" else (settings["batch"],):
            model = settings["model"] | {"memory": memory | dict(zip(POLICIES, policies, strict=True))}
            yield {**settings, "held_out": held_out, "batch": batch, "model": model}


def _changes(choice: Settings) -> str:
    memory = choice["model"]["memory"]
    pairs = {"batch": choice["batch"], "held_out": choice["held_out"], **{key: memory[key] for key in POLICIES}}
    return ", ".join(f"{key}={value}" for key, value in pairs.items())


def _said(choice: Settings, predicted: Mapping[str, int], free: int, tried: tuple[str, int] | None) -> str:
    stage = max(predicted, key=lambda name: predicted[name])
    line = f"memory: {_changes(choice)}: {_gib(largest(predicted))} GiB at the most ({stage}), {_gib(free)} are free"
    return f"{line}; with {tried[0]} it would be {_gib(tried[1])}" if tried else line


def _refusal(settings: Settings, last: Settings, predicted: Mapping[str, int], memory: tuple[int, int]) -> str:
    """Which part does not fit even with the ``last`` choice, and what to type."""
    free, total = memory
    name, climbed = settings["model"]["_target_"].rpartition(".")[2], " and ".join(target(settings))
    model = generator(last)
    parts = (
        (f"the text encoders of {name}", predicted["text"]),
        (f"the generator and the decoder of {name}", model.weights if model else 0),
        (f"{name} beside the rewards", predicted["load"]),
        (f"one iteration of {name} with {climbed}", predicted["climb"]),
        ("the largest reward that scores at the end", predicted["score"]),
    )
    what, size = next(part for part in parts if part[1] + CONTEXT > free)
    need = largest(predicted)
    said = f"no room for {what}, {_gib(size)} GiB: with {_changes(last)} {_gib(need)} GiB are needed at the least, "
    return said + f"the GPU has {_gib(free)} of {_gib(total)} GiB free: {_advice(settings, predicted, memory)}"


def _advice(settings: Settings, predicted: Mapping[str, int], memory: tuple[int, int]) -> str:
    need, (_, total) = largest(predicted), memory
    if need <= total:
        return "others hold the rest (nvidia-smi lists them)"
    if predicted["text"] + CONTEXT == need:
        return "type model.memory.text_encoder_device=cpu"
    policies = dict.fromkeys(POLICIES, "auto")
    freed = {**settings, "batch": "auto", "held_out": "auto"}
    freed["model"] = settings["model"] | {"memory": settings["model"]["memory"] | policies}
    if freed != settings and not plan(freed, memory).refused:
        return f"type batch=auto held_out=auto {' '.join(f'model.memory.{key}=auto' for key in POLICIES)}"
    sizes = [size for size in CARDS if card(size)[0] >= need]
    larger = (
        f"take a card of {sizes[0]} GB or more (docs/models.md)" if sizes else "take another model (docs/models.md)"
    )
    for kind in FEWER_BITS if freed["model"].get("quantization") == "none" else ():
        if not plan({**freed, "model": freed["model"] | {"quantization": kind}}, memory).refused:
            return f"type model.quantization={kind}, which is another run with other numbers, or {larger}"
    return larger


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
