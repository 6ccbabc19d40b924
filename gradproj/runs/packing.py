"""A finished run's CSVs in one ``records.tar.xz``, and back. Imports no torch."""

from gradproj.files import place
from gradproj.runs.archive import bundle
from gradproj.runs.folder import PACKED, Run


def pack(run: Run) -> int:
    """Move the CSVs into one archive (same bytes for the same records); returns how many it holds."""
    list(run.records())  # refuses damaged records and twins that differ
    loose = run.loose()
    everything = sorted({*loose, *run.packed()})
    if not loose:
        return len(everything)
    place(run.folder / PACKED, bundle((f"images/{name}.csv", content) for name, content in everything))
    for name, _ in loose:
        (run.images / f"{name}.csv").unlink()
    return len(everything)


def unpack(run: Run) -> int:
    """The reverse of ``pack``, byte for byte."""
    list(run.records())  # refuses duplicates: nothing loose is overwritten
    packed = run.packed()
    run.images.mkdir(exist_ok=True)
    for name, content in packed:
        place(run.images / f"{name}.csv", content)
    (run.folder / PACKED).unlink(missing_ok=True)
    return len(packed)
