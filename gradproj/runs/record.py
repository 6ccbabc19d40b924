"""The format of one image's record, and of the other CSVs of a run: labelled, sealed, read in one place.

The first line is ``# <JSON>`` and says whose file it is, the last is ``# sha256 <hex>`` over all above it; between them
stands a plain CSV. A record's label has its run id, image, prompt and the sha256 of its two pictures, so that a record
or a picture that was copied or swapped is told from one of its own. Imports no torch.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL.Image import Image as Picture

from gradproj.files import sealed, unsealed

COLUMNS = ("step", "seconds", "reward", "gradient_norm", "latent_rms", "cosine", "skipped", "flatness", "distance")
_LABEL = b"# {"


def labelled(label: Mapping[str, Any], csv: str) -> bytes:
    """A file's content: label, ``csv`` and seal."""
    return sealed(f"# {json.dumps(dict(label), sort_keys=True)}\n{csv}".encode())


def unlabelled(content: bytes) -> tuple[dict[str, Any], bytes] | None:
    """The label ({} where there is none) and the CSV of a file; None where the seal is missing or of another text."""
    text = unsealed(content)
    if text is None:
        return None
    first, _, csv = text.partition(b"\n")
    if not first.startswith(_LABEL):
        return {}, text
    try:
        return json.loads(first[2:]), csv
    except ValueError:
        return {}, text


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, float | int | None]]) -> str:
    """A record's CSV: a line per step, six significant digits, blank where a row has no number."""
    lines = [",".join(columns), *(",".join(_cell(row.get(column)) for column in columns) for row in rows)]
    return "\n".join(lines) + "\n"


def tables(csvs: Sequence[bytes], columns: Sequence[str], steps: int) -> NDArray[np.float64]:
    """(records, ``steps`` + 1, columns) of many records' CSVs in one pass, NaN where blank.

    ``ValueError`` for one that has other columns or another number of lines, or a cell that is no number.
    """
    header = ",".join(columns).encode() + b"\n"
    for place, csv in enumerate(csvs):
        if not csv.startswith(header) or csv.count(b"\n") != steps + 2:
            raise ValueError(f"record {place} has other columns or steps than expected")
    shape = (len(csvs), steps + 1, len(columns))
    if not csvs:
        return np.empty(shape)
    body = io.BytesIO(b"".join(csv[len(header) :] for csv in csvs))
    return pd.read_csv(body, names=list(columns), dtype=np.float64).to_numpy(np.float64).reshape(shape)


def picture_hash(picture: Picture) -> str:
    """sha256 over a picture's size and pixels, 64 hex digits: the same for every PNG of the same picture."""
    colours = picture.convert("RGB")
    return hashlib.sha256(f"{colours.width}x{colours.height} ".encode() + colours.tobytes()).hexdigest()


def _cell(value: float | int | None) -> str:
    return "" if value is None else f"{value:.6g}"
