"""The miniature, noting which GPU its process sees, and stopping in the middle of an image: ``noting.Shapes``.

It leaves ``$NOTES/<process id>`` with CUDA_VISIBLE_DEVICES and OMP_NUM_THREADS in it. While the file ``$NOTES/hold``
exists, a process waits before its n-th picture (n is written there). The numbers are those of ``models.shapes``.
"""

import os
import time
from pathlib import Path
from typing import Any

from gradproj.models import shapes


class Shapes(shapes.Shapes):
    pictures = 0

    def generate(self, latent: Any, condition: Any) -> Any:
        self.pictures += 1
        notes = Path(os.environ["NOTES"])
        if self.pictures == 1:
            seen = f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.environ['OMP_NUM_THREADS']}"
            (notes / str(os.getpid())).write_text(seen)
        hold = notes / "hold"
        while hold.exists() and self.pictures >= int(hold.read_text()):
            time.sleep(0.05)
        return super().generate(latent, condition)
