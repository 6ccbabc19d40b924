"""What ``gradproj.improve`` answers: before, after and the way between them, which a notebook shows."""

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd
from jinja2 import Environment, StrictUndefined
from PIL.Image import Image as Picture
from torch import Tensor

from gradproj.execution.animation import png, small

WIDTH, HEIGHT = 256, 120  # of the curve, in pixels
MOST = 24  # pictures that a notebook shows of one answer

TEMPLATE = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string("""
<table style="text-align: left">
{% for made in shown %}
<tr><td colspan="3" style="text-align: left; white-space: pre-wrap">{{ made.prompt }} <i>(seed {{ made.seed }})</i></td>
</tr>
<tr>
{% for kind, address in made.addresses() %}
<td style="text-align: left"><img src="{{ address }}" alt="{{ kind }}" width="192"><br>{{ kind }}</td>
{% endfor %}
<td style="text-align: left">
<svg width="{{ width }}" height="{{ height }}" viewBox="0 0 {{ width }} {{ height }}" role="img">
<title>reward over the steps</title>
<polyline points="{{ made.points() }}" fill="none" stroke="#2a6fb0" stroke-width="2"/>
</svg><br>
the climbed reward, steps 0 to {{ made.trajectory | length - 1 }}<br>
{% for name, (start, kept) in made.scores.items() %}
{{ name }}: {{ "%.4g" | format(start) }} &rarr; {{ "%.4g" | format(kept) }}<br>
{% endfor %}
</td></tr>
{% endfor %}
</table>
{% if more %}<p>and {{ more }} more</p>{% endif %}
{% for image, reason in failed.items() %}<p>{{ image }} failed: {{ reason }}</p>{% endfor %}
""")


@dataclass(frozen=True, eq=False)
class Improved:
    """One picture, before and after.

    ``start`` and ``kept`` are 8-bit RGB pictures of step 0 and of step ``step``, which is the last one, or with
    ``keep=best`` the one with the highest reward. ``latent`` makes the kept one: float32 of the model's
    ``latent_shape``, without a batch axis, on the processor; None for a picture that was recorded in ``results`` before
    this call, unless its latent was saved, too (``save=[picture,latent]``).

    ``trajectory`` is the image's record, a row per step: ``step``, ``seconds``, ``reward`` (the climbed form),
    ``gradient_norm``, ``latent_rms``, ``cosine`` with the start, ``skipped``, and at the scored steps ``flatness``,
    ``distance`` and a column per reward (the official form); NaN where there is no number; six significant digits.
    ``scores`` maps the name of every reward to its official scores of ``start`` and ``kept``, in the reward's unit.
    """

    prompt: str
    seed: int
    start: Picture = field(repr=False)
    kept: Picture = field(repr=False)
    step: int
    latent: Tensor | None = field(repr=False)
    trajectory: pd.DataFrame = field(repr=False)
    scores: Mapping[str, tuple[float, float]]

    def addresses(self) -> list[tuple[str, str]]:
        """("start" or "step n", the picture as a data URI of some 256 pixels)."""
        pictures = {"start": self.start, f"step {self.step}": self.kept}
        return [(kind, f"data:image/png;base64,{_text(picture)}") for kind, picture in pictures.items()]

    def points(self) -> str:
        """The curve of the reward for an SVG ``polyline`` of WIDTH x HEIGHT."""
        pairs = [(step, value) for step, value in enumerate(self.trajectory["reward"]) if math.isfinite(value)]
        values = [value for _, value in pairs]
        low, span = min(values), (max(values) - min(values)) or 1.0
        across = max(len(self.trajectory) - 1, 1)
        places = (
            (4 + (WIDTH - 8) * step / across, HEIGHT - 4 - (HEIGHT - 8) * (value - low) / span) for step, value in pairs
        )
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)

    def _repr_html_(self) -> str:
        return Improvements([self])._repr_html_()


class Improvements(list[Improved]):
    """A list of them, in the order of prompts and then seeds. ``failed``: image ("0003-1") -> why it is not there."""

    def __init__(self, made: Iterable[Improved] = (), failed: Mapping[str, str] | None = None) -> None:
        super().__init__(made)
        self.failed = dict(failed or {})

    def _repr_html_(self) -> str:
        more = len(self) - MOST
        return TEMPLATE.render(shown=self[:MOST], more=max(more, 0), failed=self.failed, width=WIDTH, height=HEIGHT)


def _text(picture: Picture) -> str:
    return base64.b64encode(png(small(picture))).decode()
