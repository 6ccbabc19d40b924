"""Whether a machine has what a command needs, a line for each thing: here, missing or wrong, and what to type.

A check never raises: what keeps it from looking is its answer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradproj.errors import UserError

State = Literal["OK", "note", "missing", "wrong"]  # a note is about what this command does not need


@dataclass(frozen=True)
class Check:
    """One line. ``advice``: what to type, or do, where it is not OK."""

    name: str
    state: State
    said: str
    advice: str = ""

    @property
    def well(self) -> bool:
        return self.state in ("OK", "note")

    def line(self) -> str:
        return f"{self.state:<8}{self.name:<11} {self.said}" + (f": {self.advice}" if self.advice else "")


@dataclass(frozen=True)
class Command:
    """What is asked about: the settings of its runs, and how it was typed.

    ``arguments`` are for `gradproj fetch`; ``launched``: a cluster's nodes are to do it, not this machine.
    """

    runs: Sequence[dict[str, Any]]
    arguments: str
    launched: bool

    @property
    def fetch(self) -> str:
        return f"gradproj fetch {self.arguments}".rstrip()

    @property
    def devices(self) -> list[str]:
        """The setting ``device`` of every run, null as auto."""
        return [settings["device"] or "auto" for settings in self.runs]

    @property
    def wants_gpu(self) -> bool:
        """Whether a run is to take a GPU of this machine."""
        from gradproj.execution.settings.parts import find

        if self.launched:
            return False
        nodes = [settings["model"] for settings in self.runs]
        wanting = [getattr(find(node["_target_"], "model"), "wants_gpu", False) for node in nodes]
        return any(
            name.startswith("cuda") or (wants and name == "auto")
            for wants, name in zip(wanting, self.devices, strict=True)
        )


def guarded(name: str, work: Callable[[], Check]) -> Check:
    """The answer of ``work``, or why it could not look."""
    try:
        return work()
    except UserError as error:
        return Check(name, "wrong", str(error))
    except Exception as error:  # whatever it is, the other checks go on
        reason = next(iter(str(error).strip().splitlines()), "")
        return Check(name, "wrong", f"could not be looked at ({type(error).__name__}: {reason})")


def checks(command: Command, quick: bool) -> Iterator[Check]:
    """Every check, as it is made. ``quick``: files are compared by their sizes, not hashed."""
    from gradproj.execution.doctor import files, gpu, machine, slurm

    yield guarded("python", machine.python)
    yield guarded("packages", machine.packages)
    yield guarded("torch", machine.torch_build)
    yield guarded("driver", lambda: gpu.driver(command))
    yield guarded("gpu", lambda: gpu.gpu(command))
    yield guarded("memory", lambda: machine.memory(command))
    yield from files.checks(command, quick)
    yield guarded("results", lambda: machine.results(command))
    yield guarded("slurm", lambda: slurm.slurm(command))
