"""gradproj: reward-guided optimisation of the noise of one-step text-to-image models, with projected gradients."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradproj.execution.improve import improve
    from gradproj.execution.improved import Improved, Improvements
    from gradproj.spectrum import project

__all__ = ["Improved", "Improvements", "improve", "project"]
_HOMES = {"improve": "improve", "Improved": "improved", "Improvements": "improved"}  # in gradproj/execution


def __getattr__(name: str) -> Any:
    """``gradproj.project``, ``improve`` and its answer, without importing torch for those who do not need it."""
    if name == "project":
        from gradproj.spectrum import project

        return project
    if name in _HOMES:
        return getattr(import_module(f"gradproj.execution.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gradproj' has no attribute {name!r}")
