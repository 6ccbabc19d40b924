"""The paper's method (arXiv 2602.08646): project the reward's gradient, and the latent, onto the set of white noise."""

from functools import partial
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from gradproj.spectrum import project
from gradproj.types import Method, NotNegative, OptimizerMaker, Positive, projected


def method(
    optimizer: OptimizerMaker,
    clip: Positive,
    block: Annotated[int, Ge(2)],
    project_gradient: bool,
    project_latent: bool,
    guard: NotNegative = 0.0,  # this and the next have defaults for the records that were made before they were there
    clamp: Positive | None = None,
) -> Method:
    """``block`` is the paper's B, and the two switches are the ablation of its Appendix H.

    ``guard`` is that of ``spectrum.project``: 0 is exact, and 1e-6 is the arithmetic of a public port of the authors'
    code, in which gradients of rms 1e-6 and below come out shorter and turned. ``clamp`` bounds the absolute value of
    every entry of the projected gradient, which has rms 1. Raises ``ValueError`` for a clamp without that projection,
    because other gradients have no scale of their own.

    ``clip`` bounds the norm after all of this. As every projected gradient has norm sqrt(N), it is then a constant
    factor, which Adam cancels.
    """
    if clamp is not None and not project_gradient:
        raise ValueError("a clamp is for projected gradients: type method.project_gradient=true, or method.clamp=null")
    onto_set = partial(project, block=block, guard=guard)

    def direction(gradient: Tensor) -> Tensor:
        return onto_set(gradient) if clamp is None else onto_set(gradient).clamp(-clamp, clamp)

    return projected(optimizer, clip, direction if project_gradient else None, onto_set if project_latent else None)
