"""No regularisation: the reward's gradient alone."""

from gradproj.types import Method, OptimizerMaker, Positive


def method(optimizer: OptimizerMaker, clip: Positive) -> Method:
    """Climb the reward under ``optimizer`` (a partial of a torch optimiser); ``clip`` bounds the gradient's l2 norm."""
    return Method(optimizer, clip=clip)
