"""Whose record it is: one that was copied or moved must not count for an image whose numbers it does not hold.

Imports no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradproj.errors import UserError
from gradproj.runs.naming import ImageId


@dataclass(frozen=True)
class Owner:
    """The run that a record is to belong to: its folder, which is called as the run, and its prompts."""

    folder: Path
    prompts: Sequence[str]

    def label(self, image: ImageId) -> dict[str, Any]:
        """What the record of ``image`` says of whose it is."""
        return {"run": self.folder.name, "image": str(image), "prompt": self.prompts[image.prompt]}

    def stranger(self, image: ImageId | None, label: Mapping[str, Any]) -> str | None:
        """Why a sealed record in the place of ``image`` is not this run's, and what to do; None where it is.

        ``image`` is None for a file whose name is no image's.
        """
        if image is None:
            return "is not called <prompt id>-<seed>: move it away"
        if image.prompt < len(self.prompts) and self.label(image).items() <= label.items():
            return None
        if not {"run", "image", "prompt"} <= label.keys():
            return "does not say whose record it is: move it away"
        home = self.folder.with_name(str(label["run"])) / "images" / f"{label['image']}.csv"
        advice = f"{home} is there already: move this one away" if home.exists() else f"move it to {home}"
        return f"is the record of image {label['image']} ({label['prompt']!r}) of run {label['run']}: {advice}"

    def refuse(self, image: ImageId | None, where: str, label: Mapping[str, Any]) -> None:
        """``UserError`` for a record that is not this run's; ``where`` names it."""
        if why := self.stranger(image, label):
            raise UserError(f"{where} {why}")
