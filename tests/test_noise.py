"""Noise is a function of (use, prompt id, seed): the same in any order, process and state of the global stream."""

import hashlib
import os
import subprocess
import sys
from itertools import combinations

import numpy as np
import torch
from scipy import stats

from gradproj.noise import generator, initial_latent

SHAPE = (4, 16, 16)
IMAGES = [(prompt, seed) for prompt in range(5) for seed in range(4)]


def test_a_latent_is_torch_randn_seeded_by_the_hash_of_its_names():
    for prompt, seed in ((0, 0), (3, 5), (1124, 24)):
        digits = hashlib.sha256(b"latent/%d/%d" % (prompt, seed)).hexdigest()[:16]  # 64 bits, of which 63 are used
        plain = torch.Generator().manual_seed(int(digits, 16) // 2)
        latent = initial_latent(SHAPE, [(prompt, seed)])
        assert torch.equal(latent, torch.randn(1, *SHAPE, generator=plain))
        assert (latent.dtype, latent.device.type) == (torch.float32, "cpu")


def test_order_and_company_do_not_matter():
    whole = dict(zip(IMAGES, initial_latent(SHAPE, IMAGES), strict=True))
    for images in (IMAGES[::-1], IMAGES[1::3], IMAGES[2::3], IMAGES[:1]):
        for image, latent in zip(images, initial_latent(SHAPE, images), strict=True):
            assert torch.equal(latent, whole[image])


def test_the_global_stream_is_neither_read_nor_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = initial_latent(SHAPE, IMAGES)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(initial_latent(SHAPE, IMAGES), first)


def test_each_image_is_standard_normal():
    for latent in initial_latent((4, 64, 64), [(0, 0), (0, 1), (7, 0)]):
        assert stats.kstest(latent.flatten().double().numpy(), "norm").pvalue > 1e-3
        assert (
            stats.kstest(np.fft.rfft(latent.flatten().numpy(), norm="ortho")[1:-1].real * 2**0.5, "norm").pvalue > 1e-3
        )


def test_every_prompt_seed_and_use_has_its_own_noise():
    names = [
        (use, prompt, seed) for use in ("latent", "method") for prompt in (0, 1, 11, 111) for seed in (0, 1, 11, 12)
    ]
    noise = [torch.randn(16384, generator=generator(*name)) for name in names]
    for one, other in combinations(noise, 2):
        assert abs(float(np.corrcoef(one, other)[0, 1])) < 6 / 16384**0.5


def test_another_process_gives_the_same_bytes():
    script = (
        "import sys, hashlib; from gradproj.noise import initial_latent\n"
        "images = eval(sys.argv[1]); latents = initial_latent((4, 16, 16), images)\n"
        "print({i: hashlib.sha256(x.numpy().tobytes()).hexdigest() for i, x in zip(images, latents)})"
    )
    settings = {"PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "2"}
    said = subprocess.check_output([sys.executable, "-c", script, repr(IMAGES[::-1])], env=os.environ | settings)
    own = zip(IMAGES, initial_latent(SHAPE, IMAGES), strict=True)
    assert eval(said) == {image: hashlib.sha256(latent.numpy().tobytes()).hexdigest() for image, latent in own}
