"""From the records of a results folder to tables, plots and one HTML page. Nothing here imports torch.

``load`` turns one run's records into curves over its scored steps, and has the one-line ``summary`` of a run.
``choose`` says which runs of a results folder are compared, and names everything that is left out or refused;
``same_images`` sees to it that they are compared over the same images. ``compare`` puts runs of one task side by side,
under labels that tell them apart, and ``comparable`` says why their numbers may not be compared, where that is so.

``bootstrap``, ``curve`` and ``gap`` are the arithmetic: intervals over prompts, what a curve says at a level, and how
far the target ran ahead of what was held out. ``paper`` holds the published numbers.

``table`` is the value that every table is made as, and ``writing`` puts it into files. ``tables/`` has a file for each
table, and ``plots/`` one for each kind of plot. ``build`` makes all of them, and ``page/`` puts them into one HTML file
with a gallery of the pictures.

The same records give the same bytes.
"""

from gradproj.report.load import summary

__all__ = ["summary"]
