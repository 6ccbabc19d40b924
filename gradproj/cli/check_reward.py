"""``gradproj check-reward NAME``: a reward of your own, tried against what a run asks of it."""

from gradproj.errors import UserError


def main(arguments: list[str]) -> int:
    raise UserError(f"check-reward {' '.join(arguments)}: not there yet; docs/rewards.md has the checks")
