"""The bytes that a model's quantization saves, from the committed counts of the published sizes."""

import csv
from functools import cache

from gradproj.execution.settings.overrides import data_folder


def saved_bytes(model: str, part: str, quantization: str, itemsize: int) -> int:
    """How many bytes fewer the weights of ``part`` (transformer, text_encoder_2) take than at ``itemsize`` a number.

    0 for ``none``, and for a part that is not quantized. ``model`` is its YAML file's name.
    """
    rows = [row for row in _table() if (row["model"], row["part"]) == (model, part)]
    return sum(itemsize * int(row["quantized"]) - int(row[quantization]) for row in rows if quantization != "none")


@cache
def _table() -> list[dict[str, str]]:
    with (data_folder("results") / "full_size" / "quantized.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
