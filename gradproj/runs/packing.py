"""A finished run's CSVs in one ``records.tar.xz``, and back. Imports no torch."""

from gradproj.files import place
from gradproj.runs.archive import bundle, members
from gradproj.runs.folder import PACKED, Run


def pack(run: Run) -> int:
    """Move the CSVs into one archive (same bytes for the same records); returns how many it holds."""
    run.records()  # refuses damaged records, other runs' and twins that differ
    loose = {path.stem: path.read_bytes() for path in run.images.glob("[!.]*.csv")}
    everything = dict(members(run.folder / PACKED)) | loose
    if not loose:
        return len(everything)
    place(run.folder / PACKED, bundle((f"images/{name}.csv", everything[name]) for name in sorted(everything)))
    for name in loose:
        (run.images / f"{name}.csv").unlink()
    return len(everything)


def unpack(run: Run) -> int:
    """The reverse of ``pack``, byte for byte."""
    run.records()  # refuses twins that differ: nothing loose is overwritten
    packed = members(run.folder / PACKED)
    run.images.mkdir(exist_ok=True)
    for name, content in packed:
        place(run.images / f"{name}.csv", content)
    (run.folder / PACKED).unlink(missing_ok=True)
    return len(packed)
