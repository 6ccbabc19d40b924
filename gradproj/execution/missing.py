"""A worker's images that are still to be done, counted and looked up without a list of them. Imports no torch."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from gradproj.runs.naming import ImageId, Share


class Missing(Sequence[ImageId]):
    """The images of ``share`` but for ``others`` (recorded or given up), in their order.

    Memory and time go with the number of the others: a share of a thousand million images costs nothing.
    """

    def __init__(self, share: Share, others: Iterable[ImageId]) -> None:
        self.share = share
        places = sorted(share.index(image) for image in others)
        self.ahead = [place - rank for rank, place in enumerate(places)]  # how many are missing ahead of each other one

    def __len__(self) -> int:
        return len(self.share) - len(self.ahead)

    def __getitem__(self, at: int) -> ImageId:  # type: ignore[override]  # one at a time
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self.share[at + bisect_right(self.ahead, at)]
