"""A reward of your own, climbed: how much the left half of a picture mirrors the right one."""

import torch
from torchvision.transforms.functional import to_tensor

import gradproj


class Mirror:
    """Unit: minus the mean absolute difference between a picture and its mirror image, in [-1, 0]."""

    weights = {}  # noqa: RUF012  # file -> sha256: this reward has none

    def encode(self, prompts):  # what __call__ needs to know of the prompts: nothing
        return None

    def __call__(self, image, text):  # (b, 3, h, w) float32 in [0, 1] -> (b,), differentiable in image
        return -(image - image.flip(3)).abs().mean(dim=(1, 2, 3))

    @torch.no_grad()
    def score(self, pictures, prompts):  # PIL pictures -> (b,) on the CPU: the number that is reported
        return torch.cat([self(to_tensor(picture.convert("RGB"))[None], None) for picture in pictures])


def main(steps: int = 30) -> gradproj.Improvements:
    return gradproj.improve(["a red ring", "a blue cross"], reward=Mirror(), steps=steps)


if __name__ == "__main__":
    for number, made in enumerate(main()):
        start, kept = made.scores["Mirror"]
        print(f"{made.prompt}: {start:.4f} at the start, {kept:.4f} after {made.step} steps")
        made.kept.save(f"mirrored-{number}.png")
