"""gradproj: reward-guided optimisation of the noise of one-step text-to-image models, with projected gradients."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradproj.spectrum import project

__all__ = ["project"]


def __getattr__(name: str) -> Any:
    """``gradproj.project`` without importing torch for those (tables, --help) who do not need it."""
    if name == "project":
        from gradproj.spectrum import project

        return project
    raise AttributeError(f"module 'gradproj' has no attribute {name!r}")
