"""The absolute guards of a public port of the authors' code, against their plain form and its known behaviour."""

import numpy as np
import pytest
import torch
from test_methods import ADAM, normal
from test_spectrum import MEAN, Array, plain_compact, plain_expand

from gradproj.methods import ours
from gradproj.spectrum import project


def guarded(x: Array, block: int, guard: float) -> Array:
    """Section 4 of the paper for one flat sample in plain numpy, nothing scaled, with two absolute guards."""
    y = plain_compact(x)
    for start in range(0, len(y), block):
        part = y[start : start + block]
        magnitude = np.abs(part)
        threshold = np.nan
        w = np.append(np.sort(magnitude)[::-1], -np.inf)
        for n in range(int(np.pi * block / 4) + 1, block + 1):
            s1, s2 = w[:n].sum(), (w[:n] ** 2).sum()
            threshold = s1 / n - (np.sqrt(np.pi * block) / 2) / n * np.sqrt((n * s2 - s1**2) / (n - np.pi * block / 4))
            if w[n] <= threshold < w[n - 1]:
                break
        kept = np.maximum(magnitude - threshold, 0)
        y[start : start + block] = kept * MEAN * block / max(kept.sum(), guard) * part / np.maximum(magnitude, guard)
    return plain_expand(y)


def noise(colour: float, n: int = 65_536) -> Array:
    """Noise of rms 1 whose power falls with the frequency to the power ``colour``."""
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=n)) / np.maximum(np.arange(n // 2 + 1), 1) ** (
        colour / 2
    )
    x = np.fft.irfft(spectrum)
    return x / np.sqrt((x**2).mean())


@pytest.mark.parametrize("colour", [0, 1, 2])
@pytest.mark.parametrize("rms", [1.0, 1e-5, 1e-6, 1e-7, 1e-9])
def test_guarded_projection_is_the_plain_form(rms: float, colour: float):
    x = rms * noise(colour, 4096)
    for block in (8, 16):
        mine = project(torch.from_numpy(x)[None], block, guard=1e-6)[0].numpy()
        np.testing.assert_allclose(mine, guarded(x, block, 1e-6), atol=1e-6)
    single = project(torch.from_numpy(x).float()[None], guard=1e-6)[0].numpy()
    np.testing.assert_allclose(single, guarded(x, 16, 1e-6), atol=2e-4)


@pytest.mark.parametrize(
    ("rms", "colour", "length", "cosine"),
    [(1e-6, 0, 0.94, 0.99), (1e-6, 1, 0.68, 0.92), (1e-7, 0, 0.14, 0.94), (1e-7, 1, 0.11, 0.60)],
)
def test_small_gradients_come_out_as_they_do_of_the_public_port(
    rms: float, colour: float, length: float, cosine: float
):
    x = torch.from_numpy(rms * noise(colour))[None]
    out = project(x, guard=1e-6)
    near = 0.01 if colour == 0 else 0.05  # the 1/f noise that was measured is not the same as this
    assert float(out.square().mean().sqrt()) == pytest.approx(length, abs=near)
    assert float(torch.cosine_similarity(out, project(x))) == pytest.approx(cosine, abs=near)


def test_without_guard_and_for_gradients_of_usual_size_nothing_changes():
    x = torch.from_numpy(noise(0))[None]
    assert torch.equal(project(x, guard=0.0), project(x))
    torch.testing.assert_close(project(1e-2 * x, guard=1e-6), project(x), rtol=0, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-8, 1e-30])
def test_ties_and_zeros_give_finite_answers_that_do_not_depend_on_the_neighbours(scale: float):
    x = torch.zeros(3, 512, dtype=torch.float64)
    x[0, 0] = scale  # all magnitudes tie
    x[1] = scale * normal(512)
    x[2, :4] = scale  # a sinusoid of few values: many zeros
    out = project(x, guard=1e-6)
    assert bool(out.isfinite().all()) and torch.equal(out, project(x, guard=1e-6))
    torch.testing.assert_close(out, torch.cat([project(one[None], guard=1e-6) for one in x]), rtol=0, atol=1e-6)
    if scale == 1:
        torch.testing.assert_close(out[:1], project(x[:1]), rtol=0, atol=1e-9)


def test_ours_hands_its_guard_on_and_clamps_the_projected_gradient_alone():
    x, g = normal(2, 512).float(), 1e-6 * normal(2, 512, seed=5).float()
    guarded_ours = ours.method(ADAM, 0.03, 16, True, True, guard=1e-6)
    assert torch.equal(guarded_ours.direction(x, g, []), project(g, guard=1e-6))
    assert torch.equal(guarded_ours.retract(x), project(x, guard=1e-6))
    clamped = ours.method(ADAM, 0.03, 16, True, True, clamp=0.03)
    assert torch.equal(clamped.direction(x, g, []), project(g).clamp(-0.03, 0.03))
    assert torch.equal(clamped.retract(x), project(x))
    at_the_bound = clamped.direction(x, g, []).abs().numpy() == np.float32(0.03)
    assert at_the_bound.mean() == pytest.approx(0.98, abs=0.01)  # P(|N(0, 1)| > .03) = .976
    with pytest.raises(ValueError, match=r"method.project_gradient=true, or method.clamp=null"):
        ours.method(ADAM, 0.03, 16, False, True, clamp=0.03)
