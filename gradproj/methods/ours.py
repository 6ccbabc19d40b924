"""The paper's method (arXiv 2602.08646): project the reward's gradient, and the latent, onto the set of white noise."""

from functools import partial
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from gradproj.spectrum import project
from gradproj.types import Method, OptimizerMaker, Positive, follow_gradient, stay


def method(
    optimizer: OptimizerMaker,
    clip: Positive,
    block: Annotated[int, Ge(2)],
    project_gradient: bool,
    project_latent: bool,
) -> Method:
    """``block`` is the paper's B, and the two switches are the ablation of its Appendix H.

    ``clip`` bounds the norm after the projection. As every projected gradient has norm sqrt(N), it is then a constant
    factor, which Adam cancels.
    """
    onto_set = partial(project, block=block)

    def direction(latent: Tensor, reward_gradient: Tensor, rng) -> Tensor:
        return onto_set(reward_gradient)

    return Method(
        optimizer,
        direction=direction if project_gradient else follow_gradient,
        retract=onto_set if project_latent else stay,
        clip=clip,
    )
