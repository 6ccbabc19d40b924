"""Settings to objects: the parts that a run is made of, from plain dictionaries with ``_target_``."""

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from gradproj.errors import UserError


def parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """{"model": ..., "method": ..., "rewards": {name: ...}} of a resolved config.

    A run's own config.yaml does, once ``run.compose_stored`` has added where the weights are.
    """
    made = {key: make(config[key]) for key in ("model", "method")}
    return made | {"rewards": {name: make(settings) for name, settings in config["rewards"].items()}}


def make(settings: Any) -> Any:
    """``hydra.utils.instantiate`` with what went wrong as a ``UserError``."""
    try:
        return instantiate(settings)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, ImportError):
            reason = " ".join(str(error.__cause__).split())
            raise UserError(f"{reason} (a module of your own is found through PYTHONPATH=FOLDER)") from error
        raise UserError(" ".join(str(error).split())) from error
