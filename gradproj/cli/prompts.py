"""``gradproj prompts``: the named prompt sets. ``gradproj prompts fetch``: the paper's 60 prompts, for ``prompts=t2i``.

The paper takes ten prompts from each of six categories and does not say which. These are the first ten lines of the
six files of Karine-Huang/T2I-CompBench (MIT licence), at one commit and checked by sha256. Where there is no internet,
type ``gradproj prompts fetch --from FOLDER``, where FOLDER has the same files (``color_val.txt`` ...). The set is put
beside the others; where you may not write there, ``--to t2i.txt`` and ``prompts=t2i.txt`` give the same runs.
"""

import argparse
import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from gradproj.cli import list as list_verb
from gradproj.errors import UserError
from gradproj.execution.settings.overrides import data_folder
from gradproj.files import place

COMMIT = "1b7094991a57f3c22abdd4f6e8ba6c1a15517073"
BASE = f"https://raw.githubusercontent.com/Karine-Huang/T2I-CompBench/{COMMIT}/examples/dataset"
SHA256 = {
    "color": "1634259756dbc77d13093d907d414480080ec9790a8c97ad09efaea7b2534f2d",
    "shape": "37e1a276906c7ea9516cbd7ac8501be896006c0c17ca7344f260562834455bae",
    "texture": "fbb5363515b4a28009e360afaaaf389d2dd2289e50dbb0c6ef4ea0c7fe4f3d4f",
    "spatial": "8707a1d7e42ce3002d95363cf55f74bd043c843ae27108f5125aaaa7840ca988",
    "non_spatial": "04c56cc9ac441dc9ea6c5157652058bd1635b5308526dd31bb29a1caab9a758d",
    "complex": "1b808018b8d9916db3d47d5aa2ef18377a3549a56901a474156f799824cdf3b4",
}
EACH = 10  # so many lines are taken of each file
DEFAULT = data_folder("prompts") / "t2i.txt"
SECONDS = 30.0  # a download without a byte for so long is given up


def local(folder: Path, name: str) -> bytes:
    """One of the six files from ``folder``; ``UserError`` where it is not there."""
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise UserError(f"{folder / name}: {error.strerror}; --from takes the folder that has {name}") from error


def download(base: str, name: str) -> bytes:
    """One of the six files from the address ``base``; ``UserError`` where it cannot be fetched."""
    url = f"{base}/{name}"
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:  # no network, refused, stalled, cut short
        raise UserError(
            f"{url} cannot be fetched ({error}): try again, or fetch the six files elsewhere and type "
            "gradproj prompts fetch --from FOLDER"
        ) from error


def prompts(folder: Path | None, base: str) -> list[str]:
    """The 60 prompts, from ``folder`` if it is given, else from ``base``; ``UserError`` for a file not as published."""
    lines = []
    for category, expected in SHA256.items():
        name = f"{category}_val.txt"
        content = local(folder, name) if folder else download(base, name)
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            source = folder or base
            raise UserError(f"{source}/{name} is not the published file: expected sha256 {expected}, found {found}")
        lines += content.decode("utf-8").splitlines()[:EACH]
    return [line.strip() for line in lines]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="gradproj prompts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", nargs="?", choices=["fetch"], help="left out: list the sets")
    parser.add_argument("--from", dest="folder", type=Path, help="a folder that has the six files already")
    parser.add_argument(
        "--to", type=Path, default=DEFAULT, help="the file to write, for prompts=FILE; default: prompts=t2i"
    )
    parser.add_argument("--base", default=BASE, help="another address of the six files; default: GitHub, that commit")
    given = parser.parse_args(arguments)
    if not given.action:
        return list_verb.main(["prompts"])
    lines = prompts(given.folder, given.base.rstrip("/"))
    try:
        place(given.to, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise UserError(
            f"{given.to} cannot be written ({error.strerror}): type gradproj prompts fetch --to t2i.txt, "
            "then gradproj run prompts=t2i.txt"
        ) from error
    print(f"{given.to}: {len(lines)} prompts; gradproj run prompts={'t2i' if given.to == DEFAULT else given.to}")
    return 0
