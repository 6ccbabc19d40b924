"""Inception and Vendi score against torch-fidelity, torchmetrics, vendi-score and numpy; the feature networks."""

import io
import math
import urllib.error
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image as Pillow
from scipy import sparse
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_isc import isc_features_to_metric
from torchmetrics.image.inception import InceptionScore
from vendi_score import vendi as library

from gradproj.diversity import features as networks
from gradproj.diversity import inception_score, measure, vendi, vendi_per_prompt
from gradproj.diversity.features.inception import SHA256, Inception
from gradproj.diversity.of_run import extract
from gradproj.errors import UserError
from gradproj.files import sha256
from gradproj.miniature.captions import OBJECTS
from gradproj.miniature.render import render, sample_captions

pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")


def draw(n: int, d: int, seed: int = 0) -> Any:
    return np.abs(np.random.default_rng(seed).normal(size=(n, d)))


def entropy(p: Any) -> Any:
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1)


# --- Inception score


@pytest.mark.parametrize("splits", [1, 10])
@pytest.mark.parametrize("n", [10, 97, 1125])
@pytest.mark.parametrize("seed", [2020, 3])
def test_inception_score_is_torch_fidelitys(n: int, splits: int, seed: int) -> None:
    logits = 3 * np.random.default_rng(n).normal(size=(n, 50)).astype(np.float32)
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits, rng_seed=seed)
    mean, sd = inception_score(logits, splits, seed)
    assert mean == pytest.approx(theirs["inception_score_mean"], abs=1e-6)
    assert sd == pytest.approx(theirs["inception_score_std"], abs=1e-6)


def test_inception_score_is_the_information_in_the_class() -> None:
    logits = 2 * np.random.default_rng(1).normal(size=(300, 12))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert inception_score(logits, 1)[0] == pytest.approx(math.exp(entropy(p.mean(0)) - entropy(p).mean()), abs=1e-9)
    assert inception_score(np.log(p), 1) == pytest.approx(inception_score(logits, 1))


def test_inception_score_of_one_split_is_torchmetrics() -> None:
    class Same(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    logits = np.random.default_rng(2).normal(size=(200, 30))
    metric = InceptionScore(feature=Same(), splits=1)
    metric.update(torch.from_numpy(logits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a standard deviation of one split, by n - 1
        assert inception_score(logits, 1)[0] == pytest.approx(float(metric.compute()[0]), abs=1e-6)


@pytest.mark.parametrize("gap", [5.0, 1e3, 1e30, np.inf])
def test_inception_score_of_certain_classes_counts_them(gap: float) -> None:
    certain = np.where(np.arange(8) == np.arange(80)[:, None] % 4, 0.0, -gap)
    expected = pytest.approx(4, abs=1e-6) if gap > 100 else pytest.approx(3.7, abs=0.3)
    assert inception_score(certain, 1)[0] == expected
    assert inception_score(np.tile(certain[:1], (80, 1)), 10) == pytest.approx((1, 0), abs=1e-9)


def test_order_moves_ten_splits_alone_and_the_seed_fixes_them() -> None:
    logits, features = draw(400, 20), draw(400, 30)
    prompts = np.arange(400) // 10
    order = np.random.default_rng(5).permutation(400)
    found, other = measure(logits, features, prompts), measure(logits[order], features[order], prompts[order])
    assert found == measure(logits, features, prompts)
    for name in ("n", "prompts", "inception_score_1", "vendi", "vendi_per_prompt"):
        assert getattr(other, name) == pytest.approx(getattr(found, name), abs=1e-9)
    assert other.inception_score_10 != found.inception_score_10
    assert abs(other.inception_score_10 - found.inception_score_10) < found.inception_score_10_sd
    assert inception_score(logits, 10, 1) != inception_score(logits, 10, 2)


def test_the_global_generators_are_left_alone() -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    before, numbers = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
    measure(draw(40, 5), draw(40, 6), np.zeros(40, dtype=np.int64))
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(
        np.random.get_state(legacy=False)["state"]["key"], numbers
    )


@pytest.mark.parametrize(
    ("logits", "splits"), [(draw(9, 4), 10), (draw(9, 4), 0), (np.full((3, 4), np.nan), 1), (np.zeros((0, 3)), 1)]
)
def test_what_has_no_inception_score_is_refused(logits: Any, splits: int) -> None:
    with pytest.raises(ValueError, match=r"expected|no distribution"):
        inception_score(logits, splits)


# --- Vendi score


@pytest.mark.parametrize(("n", "d"), [(30, 50), (50, 30), (40, 40), (1, 5), (200, 7)])
@pytest.mark.parametrize("q", [1.0, 2.0, 0.5, math.inf])
def test_vendi_is_vendi_scores(n: int, d: int, q: float) -> None:
    x = draw(n, d, seed=n)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    order: Any = "inf" if q == math.inf else q
    if q >= 1:  # below, the rounded zeros of the larger matrix count
        assert vendi(x, q) == pytest.approx(library.score_dual(x, q=order), abs=1e-6)
        assert vendi(x, q) == pytest.approx(library.score_K(unit @ unit.T, q=order), abs=1e-6)
    if n <= d:
        assert vendi(x, q) == pytest.approx(library.score_K(unit @ unit.T, q=order), abs=1e-6)
    if q == 1:
        assert vendi(x) == pytest.approx(library.score_X(x), abs=1e-6)
        assert vendi(x) == pytest.approx(library.score(list(unit), lambda a, b: float(a @ b)), abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(60, 100), (100, 60)])
def test_vendi_is_the_entropy_of_the_kernels_eigenvalues(n: int, d: int) -> None:
    x = draw(n, d)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    eigenvalues = np.linalg.svd(unit, compute_uv=False) ** 2 / n
    assert vendi(x) == pytest.approx(math.exp(entropy(eigenvalues)), abs=1e-9)
    assert vendi(1000 * x) == pytest.approx(vendi(x), abs=1e-9)
    assert vendi(x.astype(np.float32)) == pytest.approx(vendi(x), abs=1e-5)


@pytest.mark.parametrize(("copies", "d"), [(1, 8), (3, 8), (50, 8)])
def test_vendi_counts_what_is_different(copies: int, d: int) -> None:
    assert vendi(np.tile(np.eye(d), (copies, 1))) == pytest.approx(d, abs=1e-9)
    assert vendi(np.ones((copies, d))) == pytest.approx(1, abs=1e-9)


def test_vendi_per_prompt_is_the_mean_of_each_prompts_own() -> None:
    x, prompts = draw(60, 10), np.repeat([4, 0, 9], [5, 15, 40])
    parts = [x[:5], x[5:20], x[20:]]
    expected = np.mean([library.score_dual(part) for part in parts])
    assert vendi_per_prompt(x, prompts) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf])
def test_a_row_without_direction_is_refused(wrong: float) -> None:
    x = draw(5, 3)
    x[3] = wrong
    with pytest.raises(ValueError, match="row 3"):
        vendi(x)


def test_arrays_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises((ValueError, TypeError)):  # jaxtyping's, where the suite runs under it
        measure(draw(5, 3), draw(6, 3), np.arange(5))


def test_a_set_too_small_for_ten_splits_has_one() -> None:
    found = measure(draw(9, 3), draw(9, 3), np.arange(9))
    assert math.isnan(found.inception_score_10) and found.inception_score_1 >= 1


def test_the_libraries_still_have_what_is_worked_around() -> None:
    x = draw(20, 30)
    assert library.score_X(x, q=5) == library.score_X(x) != library.score_dual(x, q=5)
    assert library.score_K(sparse.csr_matrix(np.eye(20))) < 3  # 20
    assert math.isnan(isc_features_to_metric(torch.zeros(5, 3), 10)["inception_score_mean"])
    assert math.isnan(isc_features_to_metric(1000 * torch.eye(5)[:1], 1)["inception_score_mean"])
    assert len(torch.zeros(12).chunk(10)) == 6  # how torchmetrics splits


# --- the networks


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Inception with weights drawn so that pictures get different features and decided classes."""

    class Blank(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: Any, **__: Any) -> Any:
            return None

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    network = Blank("inception-v3-compat", ["2048"], nothing)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    nn.init.normal_(network.fc.weight, std=0.3, generator=generator)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


def scenes(n: int, seed: int = 0) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    images = render(sample_captions(n, generator), generator)
    return [Pillow.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy()) for image in images]


def test_the_inception_is_torch_fidelitys_command_line(weights: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"0000-{index}.png" for index in range(12)]  # "0000-10" before "0000-2"
    for path, picture in zip(paths, scenes(12), strict=True):
        picture.resize((40, 56)).save(path)
    network = Inception(str(weights), sha256(weights))
    features, logits = extract(network, [(path, None) for path in sorted(paths)], 6, "test")
    assert features.shape == (12, 2048) and logits.shape == (12, 1008)
    settings = {"input1": str(tmp_path), "isc": True, "cuda": False, "verbose": False, "cache": False}
    settings |= {"feature_extractor_weights_path": str(weights), "batch_size": 6, "save_cpu_ram": True}
    theirs = torch_fidelity.calculate_metrics(**settings, isc_splits=10)
    mean, sd = inception_score(logits, 10)
    assert mean == pytest.approx(theirs["inception_score_mean"], abs=1e-6) and mean > 1.001
    assert sd == pytest.approx(theirs["inception_score_std"], abs=1e-6)


def test_no_picture_sees_its_neighbours_in_the_inception(weights: Path) -> None:
    network = Inception(str(weights), sha256(weights))
    pictures = [*scenes(2), scenes(1, seed=1)[0].resize((64, 48))]
    for together in (pictures, pictures[:2]):
        for whole, alone in zip(
            network(together), zip(*(network([one]) for one in together), strict=True), strict=True
        ):
            torch.testing.assert_close(whole, torch.cat(alone), rtol=1e-3, atol=1e-4)


def test_the_inception_takes_the_published_file_or_the_one_that_is_meant(weights: Path) -> None:
    with pytest.raises(UserError, match=f"expected sha256 {SHA256}.*--sha256 {sha256(weights)}"):
        networks.load("inception", str(weights))
    with pytest.raises(UserError, match="No such file"):
        networks.load("inception", str(weights.with_name("none.pth")))


def test_weights_that_fit_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(UserError, match="not made for torch-fidelity's Inception"):
        Inception(str(path), sha256(path))


def test_weights_with_code_in_them_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "code.pth"
    torch.save({"fc.weight": print}, path)
    with pytest.raises(UserError, match="more than tensors"):
        Inception(str(path), sha256(path))


def test_without_a_network_the_message_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError, match=r"(?s)cannot be fetched.*no route.*--weights PATH"):
        Inception()
    kept = Path(torch.hub.get_dir()) / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    kept.write_bytes(b"cut")
    with pytest.raises(UserError, match=SHA256):
        Inception()


def test_the_miniatures_classifier_knows_renderings() -> None:
    generator = torch.Generator().manual_seed(99)
    captions = torch.tensor([(index, len(OBJECTS)) for index in range(len(OBJECTS))] * 5)
    images = render(captions, generator)
    pictures = [Pillow.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy()) for image in images]
    network = networks.load("shapes")
    features, logits = network(pictures)
    assert (logits.argmax(1) == captions[:, 0]).float().mean() > 0.97
    assert inception_score(logits.numpy(), 1)[0] == pytest.approx(40, rel=0.15)  # all objects as often, all certain
    alone = [torch.cat(one) for one in zip(*(network([picture]) for picture in pictures[:9]), strict=True)]
    torch.testing.assert_close(alone[0], features[:9], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone[1], logits[:9], rtol=1e-4, atol=1e-4)


def test_a_model_is_seen_by_its_own_network_or_the_inception() -> None:
    assert networks.names() == ["inception", "shapes"]
    assert [networks.of_model(name) for name in ("shapes", "flux", "mine")] == ["shapes", "inception", "inception"]
    with pytest.raises(UserError, match="inception, shapes"):
        networks.load("vgg")
    with pytest.raises(UserError, match="leave --weights"):
        networks.load("shapes", "file.pth")
