"""The latent of a kept picture, as a safetensors file beside it. Imports no torch.

It has the one tensor ``latent``, (*latent) float32; its metadata say whose it is, as a record's label.
"""

import json

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as as_bytes

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId


def save(run: Run, image: ImageId, latent: NDArray[np.float32]) -> None:
    """Place the latent (*latent) of the image's kept picture."""
    place(run.latent(image), as_bytes({"latent": np.ascontiguousarray(latent)}, {"label": _label(run, image)}))


def read(run: Run, image: ImageId) -> NDArray[np.float32] | None:
    """The latent (*latent); None where none was saved, ``UserError`` for a file that is cut or another image's."""
    path = run.latent(image)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="np") as file:
            latent, label = file.get_tensor("latent"), (file.metadata() or {}).get("label")
    except (SafetensorError, OSError) as error:
        raise _unfit(run, image, f"cannot be read ({error})") from error
    if label != _label(run, image):
        raise _unfit(run, image, "does not belong there")
    return latent


def _unfit(run: Run, image: ImageId, why: str) -> UserError:
    again = f"gradproj replay {run.folder} {image} --latent"
    return UserError(f"{run.latent(image)} {why}: remove it, and to have the right one type {again}")


def _label(run: Run, image: ImageId) -> str:
    return json.dumps(run.owner.label(image), sort_keys=True)  # in one entry: their order is not fixed
