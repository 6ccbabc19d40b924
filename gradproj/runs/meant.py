"""Which run and which images a person means: a run by its folder or its id, images by name or by a part of the prompt.

Imports no torch.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path

from gradproj.errors import UserError
from gradproj.runs import progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.terminal import printable, shortened

MOST = 8  # images that a part of a prompt may stand for, and names in one message


def run(text: str, results: Path) -> Run:
    """The run in the folder ``text``, or the one of this id in ``results``/runs or ``results``/*/runs.

    ``UserError`` for none, with ids that are near, and for an id that lies in several places.
    """
    if Path(text).is_dir():
        return Run.open(Path(text))
    there = sorted(path.parent for path in (*results.glob("runs/*/config.yaml"), *results.glob("*/runs/*/config.yaml")))
    same = [path for path in there if path.name == text]
    if len(same) == 1:
        return Run.open(same[0])
    if same:
        raise UserError(f"there are {len(same)} runs {text}: type the folder, {' or '.join(map(str, same))}")
    names = [path.name for path in there]
    near = difflib.get_close_matches(text, names, n=3) or names[:3]
    advice = f"type one such as {', '.join(near)} (gradproj status lists them)" if near else "type gradproj run first"
    raise UserError(f"{printable(text)!r} is no run's folder and no run's id in {results}: {advice}")


def images(run: Run, text: str) -> list[ImageId]:
    """The recorded images that ``text`` means: one by its name, or those whose prompt has it in it, in any case.

    ``UserError`` for none, with what there is, and for more than MOST.
    """
    recorded = sorted(run.recorded())
    try:
        return [_expect(run, ImageId.parse(text), recorded)]
    except ValueError:
        found = [image for image in recorded if text.lower() in run.config["prompts"][image.prompt].lower()]
    if not found:
        some = ", ".join(_named(run, image) for image in recorded[:MOST]) or "none as yet"
        more = f" and {len(recorded) - MOST} more" if len(recorded) > MOST else ""
        raise UserError(
            f"{printable(text)!r} is no image (such as {ImageId(3, 1)}) and no part of a prompt whose image is "
            f"recorded in {run.folder}; there are: {some}{more}"
        )
    if len(found) > MOST:
        some = ", ".join(_named(run, image) for image in found[:MOST])
        raise UserError(
            f"{len(found)} images have {printable(text)!r} in their prompts: type one of them, such as {some}"
        )
    return found


def _expect(run: Run, image: ImageId, recorded: Sequence[ImageId]) -> ImageId:
    if image in recorded:
        return image
    if reasons := progress.failures(run).get(image):
        raise UserError(f"{image} failed: {printable(reasons[-1])}; this tries it again: {run.command}")
    if run.record(image).exists():
        run.table(image)  # says what is wrong with it
    ends = f"{recorded[0]} to {recorded[-1]}" if recorded else "none as yet"
    raise UserError(f"{run.folder} has no record of {image}; recorded are {len(recorded)} images ({ends})")


def _named(run: Run, image: ImageId) -> str:
    return f"{image} ({shortened(run.config['prompts'][image.prompt], 40)})"
