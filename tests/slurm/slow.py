"""The miniature, whose workers can be stopped in the middle of an image: ``model._target_=slow.Shapes``.

While the file $HOLD exists, a worker waits before its n-th picture (n is written in the file), having left
``held/<its process id>`` beside it. The numbers are those of ``gradproj.models.shapes``.
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
        hold = Path(os.environ["HOLD"])
        while hold.exists() and self.pictures >= int(hold.read_text()):
            held = hold.parent / "held"
            held.mkdir(exist_ok=True)
            (held / str(os.getpid())).touch()
            time.sleep(0.05)
        return super().generate(latent, condition)
