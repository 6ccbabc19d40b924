"""A finished run's CSVs in one ``records.tar.xz``, and back. Imports no torch."""

from gradproj.files import place
from gradproj.runs.archive import bundle, members
from gradproj.runs.contents import PACKED, loose
from gradproj.runs.folder import Run


def pack(run: Run) -> int:
    """Move the CSVs into one archive (same bytes for the same records); returns how many it holds."""
    run.records()  # refuses damaged records, other runs' and twins that differ
    files = loose(run.folder)
    everything = dict(members(run.folder / PACKED)) | {name: path.read_bytes() for name, path in files.items()}
    if not files:
        return len(everything)
    place(run.folder / PACKED, bundle((f"images/{name}.csv", everything[name]) for name in sorted(everything)))
    for path in files.values():
        path.unlink()
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
