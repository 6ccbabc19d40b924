"""Which runs of one task are compared, and over which images, so that every method is judged on the same ones."""

from collections import Counter
from collections.abc import Sequence

from gradproj.report.compare import task_name
from gradproj.report.load import Curves
from gradproj.runs.naming import ImageId, Share


def same_images(group: Sequence[Curves], partial: bool) -> tuple[list[Curves], list[str]]:
    """The runs of ``group`` over the same images, and a line for every run or image that was left out.

    Without ``partial`` these are the finished runs with the most common seeds, over all their images. With it
    they are all runs, over the images that every one of them has.
    """
    return _shared(group) if partial and group else _whole(group)


def _shared(group: Sequence[Curves]) -> tuple[list[Curves], list[str]]:
    everywhere = set.intersection(*(set(curves.images) for curves in group))
    shared = [image for image in group[0].images if image in everywhere]
    most = max(len(curves.images) for curves in group)
    left_out = []
    if most > len(shared):
        counts = f"{len(shared)} of {most} are shared by {len(group)} runs"
        left_out.append(f"{task_name(group[0].run)}: the images that not all runs have ({counts})")
    return [curves.of(shared) for curves in group] if shared else [], left_out


def _whole(group: Sequence[Curves]) -> tuple[list[Curves], list[str]]:
    missing = [_missing(curves) for curves in group]
    left_out = [_unfinished(curves, images) for curves, images in zip(group, missing, strict=True) if images]
    whole = [curves for curves, images in zip(group, missing, strict=True) if not images]
    counts = Counter(_seeds(curves) for curves in whole)
    seeds = max(counts, key=lambda seeds: (counts[seeds], len(seeds), seeds), default=())
    for curves in whole:
        if _seeds(curves) != seeds:
            left_out.append(
                f"{curves.run.folder.name} has {_typed(_seeds(curves))} of each prompt where {counts[seeds]} "
                f"other runs have {_typed(seeds)}; give it the same, or take the images that all have: --partial"
            )
    return [curves for curves in whole if _seeds(curves) == seeds], left_out


def _seeds(curves: Curves) -> tuple[int, ...]:
    """The seeds that each prompt of the run was to have, in order, as far as its records tell."""
    return tuple(sorted({image.seed for image in curves.images}))


def _typed(seeds: Sequence[int]) -> str:
    """As a person types them: their number where they are 0, 1, ..., otherwise a list."""
    return f"seeds={len(seeds)}" if seeds[-1] == len(seeds) - 1 else f"'seeds=[{','.join(map(str, seeds))}]'"


def _missing(curves: Curves) -> list[ImageId]:
    """The images of the run's prompts and seeds that it has not recorded, in order."""
    everything = Share(len(curves.run.config["prompts"]), _seeds(curves))
    return sorted(set(everything) - set(curves.images))


def _unfinished(curves: Curves, missing: Sequence[ImageId]) -> str:
    """The line that says which images the run lacks, and how to finish it."""
    shown = " ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    everything = len(Share(len(curves.run.config["prompts"]), _seeds(curves)))
    return (
        f"{curves.run.folder.name} lacks {len(missing)} of {everything} images ({shown}); finish it: "
        f"{curves.run.command} {_typed(_seeds(curves))} shard=0 shards=1; or take the images that all have: --partial"
    )
