"""The files that a command needs: can its parts be made, are the files here and clean, can the rest be had."""

from collections.abc import Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING

from gradproj.execution import weights
from gradproj.execution.doctor import Check, Command, guarded
from gradproj.pretrained.survey import Asked

if TYPE_CHECKING:
    from gradproj.pretrained.outlook import Outlook

UNNEEDED = "this command fetches nothing"


def checks(command: Command, quick: bool) -> Iterator[Check]:
    """Settings, hub, token, access, disk and weights; notes alone where the command needs no file."""
    found = Files(command, quick)
    for name in ("settings", "hub", "token", "access", "disk", "weights"):
        yield guarded(name, partial(getattr(found, name)))


class Files:
    """Each method is one check; what they share is looked up once."""

    def __init__(self, command: Command, quick: bool) -> None:
        self.command, self.quick = command, quick

    @cached_property
    def needed(self) -> tuple[Asked, list[str]]:
        return weights.needed(self.command.runs)

    @property
    def asked(self) -> Asked:
        return self.needed[0]

    @cached_property
    def outlook(self) -> "Outlook":
        from gradproj.pretrained import outlook

        return outlook.look(self.asked)

    @property
    def nothing(self) -> bool:
        return not self.asked.requests and not self.asked.addresses

    def settings(self) -> Check:
        refused = self.needed[1]
        if refused:
            return Check("settings", "wrong", "; ".join(refused))
        count = len(self.command.runs)
        return Check("settings", "OK", f"{count} run{'s' * (count > 1)}, every part is known")

    def hub(self) -> Check:
        """Whether what is still to come can be asked for."""
        if self.nothing:
            return Check("hub", "note", f"not asked: {UNNEEDED}")
        from huggingface_hub import constants

        from gradproj.pretrained.listing import cache

        cache()
        troubles = [one.trouble for one in (*self.outlook.repositories, *self.outlook.addresses) if one.trouble]
        if self.outlook.whole:
            return Check("hub", "note", f"not asked: all is here{', and HF_HUB_OFFLINE=1' * bool(troubles)}")
        if troubles:
            advice = f"where there is a network, with the same HF_HOME ({constants.HF_HOME}), type {self.command.fetch}"
            return Check("hub", "missing", "; ".join(dict.fromkeys(troubles)), advice)
        return Check("hub", "OK", f"{constants.ENDPOINT} answers")

    def token(self) -> Check:
        """Whether somebody is logged in, and the hub knows the token."""
        if self.nothing or self.outlook.whole:
            return Check("token", "note", f"not asked for: {UNNEEDED if self.nothing else 'all is here'}")
        from huggingface_hub import get_token

        from gradproj.pretrained import settle

        if not get_token():
            return Check("token", "note", "none (HF_TOKEN, hf auth login); only gated repositories ask for one")
        if any(one.trouble for one in self.outlook.repositories):
            return Check("token", "note", "there is one; the hub cannot be asked about it")
        wrong = settle.wrong_token()
        return Check("token", "wrong", wrong) if wrong else Check("token", "OK", "the hub knows it")

    def access(self) -> Check:
        """Whether the files that are still to come may be fetched."""
        if self.nothing or self.outlook.whole:
            return Check("access", "note", f"not asked for: {UNNEEDED if self.nothing else 'all is here'}")
        from gradproj.pretrained import settle

        refused = [one.refused for one in (*self.outlook.repositories, *self.outlook.addresses) if one.refused]
        refused += filter(None, map(settle.access, self.outlook.repositories))
        if refused:
            return Check("access", "wrong", "; ".join(dict.fromkeys(refused)))
        asked = [one for one in self.outlook.repositories if one.missing and not one.trouble]
        if not asked:
            return Check("access", "note", "the hub cannot be asked")
        return Check("access", "OK", f"{', '.join(one.request.repo for one in asked)} may be read")

    def disk(self) -> Check:
        """Room for what is still to come."""
        if self.nothing:
            return Check("disk", "note", UNNEEDED)
        from gradproj.pretrained import settle
        from gradproj.pretrained.listing import cache

        short = settle.disk(self.outlook)
        if short:
            return Check("disk", "wrong", "; ".join(short))
        unknown = any(one.missing and one.trouble and not one.coming for one in self.outlook.repositories)
        free = settle.free_bytes(cache())
        coming = "nobody knows how much is" if unknown else f"{self.outlook.coming / 1e9:.2f} GB"
        state = "note" if unknown else "OK"
        return Check("disk", state, f"{coming} to come, {free / 1e9:.2f} GB free in {cache()}")

    def weights(self) -> Check:
        """Whether every file is here, of the right size and with the right hash."""
        local = "".join(f"; {folder} is a local folder, used as it is" for folder in self.asked.folders)
        if self.nothing:
            return Check("weights", "OK", f"built in{local}" if not local else local.removeprefix("; "))
        from gradproj.pretrained import fetching, settle

        proof = fetching.prove(self.asked, hashes=not self.quick)
        if proof.wrong:
            names = settle.shown(dict.fromkeys(proof.wrong.values()))
            return Check(
                "weights", "wrong" if proof.damaged else "missing", f"{names}{local}", f"type {self.command.fetch}"
            )
        how = "sizes" if self.quick else "sizes and hashes"
        return Check("weights", "OK", f"{proof.files} files, {proof.bytes / 1e9:.2f} GB, {how} are right{local}")
