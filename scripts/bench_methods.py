"""Seconds per iteration of every method on the miniature, and its ratio to the gradient step without a penalty.

``python scripts/bench_methods.py`` takes medians over rounds. Each round runs every method once, so that a machine that
becomes slower does so for all. It also prints the projections' share of an iteration of ours, and what a projection
costs beside the FFT and its inverse, which it contains. ``--projection`` prints that alone.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from gradproj.methods import intervals, mpgr, none, ours, planar, prno, reno
from gradproj.models.shapes import Shapes
from gradproj.noise import generator, initial_latent
from gradproj.optimize import optimize
from gradproj.rewards.shapes_aesthetic import ShapesAesthetic
from gradproj.runs.environment import describe
from gradproj.spectrum import project
from gradproj.types import Method

ROUNDS, STEPS, BATCH = 15, 4, 16


def adam(parameters) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.02)


METHODS = {
    "none": none.method(adam, clip=0.03),
    "reno": reno.method(adam, clip=0.03, weight=0.01),
    "prno": prno.method(adam, clip=0.03, weight=1.0, dimension=4, permutations=100),
    "mpgr": mpgr.method(adam, clip=0.03, weight=1.0, power_weight=25.0, power_mean=0.875),
    "intervals": intervals.method(
        adam, clip=0.03, tile=32, significance=1e-4, project_gradient=True, project_latent=True
    ),
    "planar": planar.method(adam, clip=0.03, block=16, project_gradient=True, project_latent=True),
    "ours": ours.method(adam, clip=0.03, block=16, project_gradient=True, project_latent=True),
}


def main() -> None:
    model, reward = Shapes(), ShapesAesthetic()
    images = [(prompt, 0) for prompt in range(BATCH)]
    latent, condition = initial_latent(model.latent_shape, images), model.encode(["a red ring"] * BATCH)

    def seconds(method: Method) -> float:
        rng = [generator("method", *image) for image in images]
        *_, last = optimize(model, reward, method, condition, None, latent, STEPS, rng)
        return last.seconds / STEPS / BATCH

    rounds = [{name: seconds(method) for name, method in METHODS.items()} for _ in range(ROUNDS + 1)][1:]
    facts = describe(model.device)
    print(f"{facts['device']}, {facts['threads']} thread(s), torch {facts['packages']['torch']}, {facts['git']}")
    print(f"batch {BATCH}, {STEPS} steps, medians of {len(rounds)} rounds\n")
    print("| method | ms per image and step | ratio to none |")
    print("|---|---|---|")
    for name in METHODS:
        ratio = statistics.median(times[name] / times["none"] for times in rounds)
        print(f"| {name} | {1000 * statistics.median(times[name] for times in rounds):.2f} | {ratio:.3f} |")
    iteration = statistics.median(times["ours"] for times in rounds)
    both = 2 * median_time(lambda: project(latent)) / BATCH  # the gradient's and the latent's
    share = f"{1000 * both:.3f} ms of ours' {1000 * iteration:.2f}, {both / iteration:.1%} of an iteration"
    print(f"\nboth projections: {share} (the paper, on FLUX: 0.46 ms of 1,161, 0.04 %)")
    print()
    beside_the_fft()


def beside_the_fft() -> None:
    """Print milliseconds of a projection and of an FFT and its inverse, in turn, for latents of several sizes."""
    print("| N | batch | FFT and inverse, ms | projection, ms | ratio |")
    print("|---|---|---|---|---|")
    for n, batch in ((3072, 1), (3072, 16), (16_384, 1), (16_384, 16), (65_536, 1), (65_536, 16), (1_048_576, 1)):
        x = torch.randn(batch, n)
        rounds = [
            (
                median_time(lambda x=x: torch.fft.irfft(torch.fft.rfft(x, norm="ortho"), norm="ortho")),
                median_time(lambda x=x: project(x)),
            )
            for _ in range(3)
        ]
        transform, projection = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(f"| {n:,} | {batch} | {1000 * transform:.3f} | {1000 * projection:.3f} | {projection / transform:.2f} |")


def median_time(work: Callable[[], object]) -> float:
    """The median seconds of 20 calls, after one that does not count."""
    work()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    beside_the_fft() if "--projection" in sys.argv else main()
