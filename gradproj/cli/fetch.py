"""Fetch all that a run or a sweep needs, on a login node without a GPU too: ``gradproj fetch model=flux``.

Takes the overrides of ``gradproj run`` (and -m for a sweep). Listings, access and the room on the disk are settled
before the first byte; the same command goes on after an interruption, file by file; at the end every file is hashed
and the parts are made as with HF_HUB_OFFLINE=1. The files go to the cache of the hub (HF_HOME), torch's (TORCH_HOME).
"""

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradproj.cli import composed, prompts
from gradproj.errors import Incomplete, UserError

if TYPE_CHECKING:
    from gradproj.pretrained.outlook import Outlook
    from gradproj.pretrained.survey import Asked


def main(arguments: list[str]) -> int:
    """List what the described runs need, then fetch and prove it; a ``UserError`` comes before the first byte."""
    given, overrides = _parser().parse_known_args(arguments)
    t2i = prompts.DEFAULT
    runs = [one.settings for one in composed.all_here(overrides, "gradproj fetch", later=t2i.stem)]
    if not runs:  # --cfg job, which is answered
        return 0
    asked = _asked(runs, given.diversity)
    wants_prompts = given.prompts or any(settings["prompts"] == t2i.stem for settings in runs)
    from gradproj.pretrained import outlook, settle, shown

    seen = outlook.look(asked)
    print("\n".join(shown.lines(seen, asked.folders)))
    if wants_prompts:
        print(f"{t2i}: {'here' if t2i.is_file() else 'to come, 60 prompts'}")
    if given.list:
        return _listed(seen)
    settle.settle(seen, shlex.join(["gradproj", "fetch", *arguments]))
    if wants_prompts and not t2i.is_file():
        prompts.main(["fetch"])
    _fetch(asked, runs)
    print(f"all of it is here, now type: {shlex.join(['gradproj', 'run', *overrides])}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = composed.parser("gradproj fetch [--list] [--diversity] [--prompts] [-m] [KEY=VALUE ...]", __doc__)
    parser.add_argument("--list", action="store_true", help="only list: sizes, licence, access, where it goes")
    parser.add_argument("--diversity", action="store_true", help="the Inception for gradproj diversity, too (96 MB)")
    parser.add_argument("--prompts", action="store_true", help="the T2I-CompBench++ prompts, too (prompts=t2i)")
    return parser


def _asked(runs: Sequence[dict[str, Any]], diversity: bool) -> "Asked":
    from gradproj.execution import weights

    asked, refused = weights.needed(runs)
    if refused:
        raise UserError("\n".join(refused))
    if diversity:
        from gradproj.diversity.features import inception

        asked.addresses[inception.URL_INCEPTION_V3] = inception.SHA256
    return asked


def _listed(seen: "Outlook") -> int:
    """``Incomplete`` where some of what is still to come cannot be had; returns 0."""
    coming = [one for one in seen.repositories if one.refused or one.missing or not one.files]
    troubles = [one.refused or one.trouble for one in (*coming, *(one for one in seen.addresses if not one.here))]
    if wrong := list(filter(None, troubles)):
        raise Incomplete("\n".join(dict.fromkeys(wrong)))
    return 0


def _fetch(asked: "Asked", runs: Sequence[dict[str, Any]]) -> None:
    """Fetch, hash, and make the parts of every run without a network."""
    from gradproj.execution import weights
    from gradproj.execution.settings.parts import parts
    from gradproj.pretrained import fetching

    proof = fetching.fetch(asked)
    with fetching.offline():
        for settings in weights.different(runs):
            parts({**settings, "device": "cpu"})  # on a login node, too
    if proof.files:
        print(f"{proof.files} files, {proof.bytes / 1e9:.2f} GB: every size and hash is right, without a network")
