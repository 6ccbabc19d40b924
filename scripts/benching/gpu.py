"""Iterations of the published models at their real sizes with random weights, in several variants of each."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from counting import build
from torch.utils.flop_counter import FlopCounterMode

from gradproj.execution import compiled
from gradproj.execution.experiment import Experiment
from gradproj.execution.memory import peaks
from gradproj.execution.memory.counted import Generator, stages
from gradproj.execution.profile import Profile
from gradproj.methods.ours import method
from gradproj.pretrained.quantized import check_quantization, quantize
from gradproj.pretrained.recompute import recompute
from gradproj.pretrained.release import release
from gradproj.pretrained.source import freeze
from gradproj.rewards.shapes_aesthetic import ShapesAesthetic
from gradproj.runs.naming import ImageId
from gradproj.spectrum import project

WARM, ROUNDS, PROFILED = 2, 10, 3  # iterations


@dataclass(frozen=True)
class Variant:
    """One way to run an iteration; the defaults are the plain one."""

    batch: int = 1
    policy: str = "none"  # of generator and decoder
    decoder: str = "full"
    compile: bool = False
    channels_last: bool = False  # of the decoder's weights
    quantization: str = "none"


def variants(size: build.Size) -> list[Variant]:
    """What is tried of a model, what matters most first."""
    made = [Variant(), Variant(compile=True), Variant(batch=4)]
    made += [Variant(decoder="tiny"), Variant(decoder="tiny", compile=True)] if size.tiny else []
    made += [Variant(channels_last=True), Variant(policy="blocks"), Variant(policy="full")]
    return made + [Variant(quantization=kind) for kind in ("int8", "nf4") if size.name == "flux"]


class Bench:
    """One model on ``device``; its networks are made there. ``changes`` are settings that its size does not have."""

    def __init__(self, size: build.Size, device: torch.device, **changes: Any) -> None:
        torch.manual_seed(0)
        self.size, self.device, self.changes = size, device, changes
        self.model, self.reward = build.model(size, device, **changes), ShapesAesthetic()
        self.model.encode = lambda prompts: build.condition(size, self.model, len(prompts))
        self.reward.device = device  # its network comes at its first use
        self.quantized = False
        self.flop: dict[str, int] = {}  # of one picture's iteration, by its decoder, nothing computed twice

    def measure(self, variant: Variant, until: float) -> dict[str, Any]:
        """Seconds an iteration, the most bytes and the work; as many iterations as end before ``until``."""
        release()  # what other variants have left does not count
        with ExitStack() as stack:
            self._quantize(variant)
            for part in (self._decoder(variant), self._policy(variant)):
                stack.enter_context(part)
            form = torch.channels_last if variant.channels_last else torch.contiguous_format
            self.model.decoder.to(memory_format=form)
            if variant.decoder not in self.flop and variant.policy == variant.quantization == "none":
                with self._inner_latent(), FlopCounterMode(display=False) as counter:
                    self._iterate(1, 1, time.monotonic())
                self.flop[variant.decoder] = counter.get_total_flops()
            facts = stack.enter_context(self._compiled(variant))
            peaks.begin(self.device)
            seconds = self._iterate(variant.batch, WARM + ROUNDS, until)[WARM:]
            if not seconds:
                raise TimeoutError(f"no iteration ended in time after {WARM} to warm up")
            row = {**vars(variant), "iterations": len(seconds), "seconds": statistics.median(seconds), **facts}
            row |= {"peak_bytes": peaks.most(self.device), "flop": variant.batch * self.flop.get(variant.decoder, 0)}
            profile = Profile(self.device)
            made = len(self._iterate(variant.batch, PROFILED, until, profile))
            profile.table()  # waits for the device
            return row | {"phases": {name: took / made for name, took in profile.seconds.items() if took}}

    @contextmanager
    def _inner_latent(self) -> Iterator[None]:
        """Networks get a copy of the latent: torch's counter follows no leaf into a module with autograd.grad."""
        generate = self.model.generate
        self.model.generate = lambda latent, condition: generate(latent.clone(), condition)
        try:
            yield
        finally:
            del self.model.generate

    def _experiment(self, profile: Profile | None = None) -> Experiment:
        ours = method(lambda latents: torch.optim.Adam(latents, lr=0.02), 0.03, 16, True, True)
        return Experiment(
            self.model, ours, {"reward": self.reward}, {"reward": 1.0}, [""], 10**6, "last", 10**6, 1, profile
        )

    def _iterate(self, batch: int, count: int, until: float, profile: Profile | None = None) -> list[float]:
        """Seconds of each of at most ``count`` iterations; the loop waits for the device at the end of each."""
        images, seconds, since = [ImageId(0, seed) for seed in range(batch)], list[float](), time.perf_counter()
        for step in islice(self._experiment(profile).iterate(images, count), count):
            seconds.append(time.perf_counter() - since)
            if not bool(step.image.isfinite().all()):
                raise ArithmeticError("a picture is not finite")
            if time.monotonic() > until:
                break
            since = time.perf_counter()
        return seconds

    @contextmanager
    def _policy(self, variant: Variant) -> Iterator[None]:
        networks = {self.model.network: (), self.model.decoder.decoder: None}
        for network, blocks in networks.items():
            blocks = self.model.decoder_blocks(network) if blocks is None and variant.decoder == "full" else ()
            recompute(network, variant.policy, blocks)  # type: ignore[arg-type]
        try:
            yield
        finally:
            for module in (module for network in networks for module in network.modules()):
                module.__dict__.pop("forward", None)
                if hasattr(module, "gradient_checkpointing"):
                    module.gradient_checkpointing = False

    @contextmanager
    def _decoder(self, variant: Variant) -> Iterator[None]:
        if variant.decoder == "full":
            yield
            return
        assert self.size.tiny is not None
        small = build.random_network(self.size.tiny, self.model.dtype, self.device)
        freeze(small, self.device)
        self.model.tiny, self.model.__dict__["tiny_vae"] = True, small
        try:
            yield
        finally:
            self.model.tiny = None
            del self.model.__dict__["tiny_vae"]

    @contextmanager
    def _compiled(self, variant: Variant) -> Iterator[Mapping[str, Any]]:
        if not variant.compile:
            yield {}
            return
        experiment = self._experiment()
        facts = compiled.warm_up(experiment, [variant.batch])
        if facts["failed"]:
            raise RuntimeError(facts["failed"])
        with compiled.warmed_up(experiment, facts):
            yield {"warm_up_seconds": facts["warm_up_seconds"]}

    def _quantize(self, variant: Variant) -> None:
        """Nothing where the weights are in full: those variants come first, as this cannot be undone."""
        if variant.quantization == "none":
            return
        kind: Any = variant.quantization
        check_quantization(kind, str(self.model.dtype).removeprefix("torch."))
        pipeline, part = self.model.pipeline, self.model.denoiser
        if self.quantized:
            setattr(pipeline, part, None)
            release()
            setattr(pipeline, part, getattr(self.model.source.load([part], self.model.dtype, self.device), part))
        self.quantized = True
        quantize(self.model.network, kind, self.device)


def predicted(row: Mapping[str, Any], batch: int) -> int:
    """Bytes at the most that the memory planner counts on for a batch without rewards; ``row`` is a counted one."""
    kept = int(row["generator_kept_bytes"]) + int(row["decoder_kept_bytes"])
    made = Generator(0, int(row["weights_bytes"]), kept, int(row["peak_bytes"]))
    return stages(made, {}, [], batch, "during")["climb"]


def ceiling(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """FLOP a second of a square matrix product of ``side``: the quickest of 30."""
    one, other = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    return 2 * side**3 / min(_seconds(lambda: one @ other, device, 30))


def projection(device: torch.device, n: int, batch: int) -> float:
    """Median seconds of a projection of ``batch`` latents."""
    x = torch.randn(batch, n, device=device)
    return statistics.median(_seconds(lambda: project(x), device, 50))


def _seconds(work: Any, device: torch.device, calls: int) -> Sequence[float]:
    took = []
    for _ in range(calls + 3):
        since = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took.append(time.perf_counter() - since)
    return took[3:]
