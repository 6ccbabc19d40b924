"""``gradproj replay RUN IMAGE``: one image of a run made again, from config.yaml and seed; are the numbers the same?

Same means: in every column of the record but the seconds, no step is further off than a thousandth of that column's
range over the steps. Exit code 0: the same; 1: not; 2: a message says what is wrong.
"""

import argparse
from pathlib import Path

from gradproj.errors import UserError
from gradproj.runs.naming import ImageId


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradproj replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run's folder: results/runs/<run id>")
    parser.add_argument("image", help="<prompt id>-<seed>, as its record is called: 0003-1")
    parser.add_argument(
        "settings",
        nargs="*",
        help="as for gradproj run: where weights are today (model.source.repo=/folder), device=cuda:1",
    )
    parser.add_argument("--batch", type=int, help="images side by side; default: as many as env.json says there were")
    parser.add_argument("--gif", action="store_true", help="write images/<image>.gif and a strip of the scored steps")
    parser.add_argument(
        "--latent", action="store_true", help="write the kept picture's latent, images/<image>.safetensors"
    )
    parser.add_argument(
        "--trust", action="store_true", help="call code of the run's config.yaml that is not gradproj's own"
    )
    given = parser.parse_intermixed_args(arguments)
    if given.batch is not None and given.batch < 1:
        raise UserError(f"--batch must be a whole number, at least 1, got {given.batch}")
    try:
        image = ImageId.parse(given.image)
    except ValueError as error:
        raise UserError(f"there is no image {given.image}: {error}") from error
    from gradproj.execution.replay import replay

    return 0 if replay(given.run, image, given.settings, given.batch, given.gif, given.trust, given.latent) else 1
