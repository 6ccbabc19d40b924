"""The few images that a comparison is shown by, chosen by a rule that leaves no choice."""

from itertools import islice

from gradproj.report.compare import Comparison

SHOWN = 6
RULE = (
    "Nobody chose these images: they are the first prompts with their first seed, as far as the pictures of every "
    "method are on this disk."
)


def first_images(comparison: Comparison, most: int = SHOWN, whole: bool = True) -> list[int]:
    """Indices of at most ``most`` images, in the order of all runs: every prompt's first seed before any second one.

    With ``whole`` they are images whose start and kept picture every run of the comparison has as a PNG.
    """
    runs = [curves.run for curves in comparison.methods.values()]
    images = next(iter(comparison.methods.values())).images
    order = sorted(range(len(images)), key=lambda index: (images[index].seed, images[index].prompt))
    here = (
        index
        for index in order
        if not whole or all(path.is_file() for run in runs for path in run.pictures(images[index]).values())
    )
    return list(islice(here, most))
