"""Pictures and prompts that come with the program, on which scorers differ most: the same on every machine."""

import hashlib

import numpy as np
from PIL import Image as Pillow

SEED = 20260208
PROMPTS = [
    "a red ring",
    "",
    'A photo of a CAT &amp; a dog,\tsitting   on a bench; 1920s, "it\'s" 4k!!',
    "ein Zürcher Tram im Schneegestöber, naïve café, 東京タワー, Привет мир, 🐙🚀 ½",
    "an oil painting of a very long winding road " * 12,
    "counterintuitively hyperphotorealistic supercalifragilisticexpialidocious llama",
]
SIZES = [(224, 224), (512, 512), (640, 427), (224, 299), (333, 500), (227, 224), (97, 64), (30, 41)]  # width, height


def pictures(sizes: list[tuple[int, int]] = SIZES) -> list[Pillow.Image]:
    """Waves, noise and a hard-edged rectangle, 8-bit RGB; made of whole numbers, so the same everywhere."""
    return [_picture(index, *size) for index, size in enumerate(sizes)]


def digest() -> str:
    """sha256 of the pixels of ``pictures()``."""
    return hashlib.sha256(b"".join(picture.tobytes() for picture in pictures())).hexdigest()


def _picture(index: int, width: int, height: int) -> Pillow.Image:
    generator = np.random.Generator(np.random.PCG64([SEED, index]))
    y, x = np.mgrid[0:height, 0:width]
    channels = [((x * (3 + index) // 7 + y * (5 - channel) // 3) * (2 + channel)) % 511 for channel in range(3)]
    levels = np.stack([np.minimum(channel, 510 - channel) for channel in channels], axis=-1) % 256
    levels = levels * 3 // 4 + generator.integers(0, 64, levels.shape)
    levels[height // 4 : height // 2, width // 3 : width // 2] = (255, 0, 40 * index % 256)
    return Pillow.fromarray(levels.astype(np.uint8))
