"""FID, KID and PRDC against closed forms, and against torch-fidelity's, torchmetrics' and prdc's own values."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from evaluation.distributions.fid import Gaussian, fid, fid_by_count, frechet_distance
from evaluation.distributions.inception_score import inception_score
from evaluation.distributions.kid import kid, mmd
from evaluation.distributions.prdc import prdc
from evaluation.features.neighbours import nearest


def gaussian(n: int, d: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (n, d)).astype(np.float32)


def test_frechet_distance_of_two_gaussians_in_closed_form():
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    first, second = torch.tensor([1.0, 4.0, 0.25]).double(), torch.tensor([2.25, 1.0, 0.0]).double()
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double())[0]
    a = Gaussian(torch.zeros(3).double(), rotation @ first.sqrt().diag())
    b = Gaussian(mean, rotation @ second.sqrt().diag())
    expected = mean.square().sum() + (first.sqrt() - second.sqrt()).square().sum()
    assert frechet_distance(a, b) == pytest.approx(expected.item())


def test_fid_of_shifted_samples_is_the_shift():
    x = gaussian(500, 8)
    assert fid(x, x) == pytest.approx(0, abs=1e-9)
    assert fid(x, x + 0.5) == pytest.approx(8 * 0.25, rel=1e-5)
    assert fid(x, 2 * x) == pytest.approx((np.var(x, axis=0, ddof=1)).sum() + (x.mean(0) ** 2).sum(), rel=1e-5)


def test_fid_with_fewer_images_than_features():
    a, b = gaussian(20, 64), gaussian(30, 64, seed=1)
    from scipy.linalg import sqrtm

    cross = sqrtm(np.cov(a.T) @ np.cov(b.T)).real.trace()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.cov(a.T).trace() + np.cov(b.T).trace() - 2 * cross
    assert fid(a, b) == pytest.approx(expected, rel=1e-3)


def test_extrapolation_takes_the_bias_of_few_images_away():
    a, b = gaussian(600, 24), gaussian(600, 24, seed=1)  # the true distance is 0
    curve = fid_by_count(a, b, repeats=5)
    assert curve.values[0] > 3 * curve.values[-1] > 0  # the first points are those of the fewest images
    assert abs(curve.limit) < 0.25 * fid(a, b)
    assert curve.low < curve.limit < curve.high and curve.slope > 0


def test_kid_is_unbiased_on_equal_distributions_and_sees_a_shift():
    values = [kid(gaussian(60, 6, seed=2 * i), gaussian(60, 6, seed=2 * i + 1), subsets=1)[0] for i in range(120)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error and np.min(values) < 0
    assert kid(gaussian(200, 6), gaussian(200, 6, shift=0.5, seed=1), subset=100, subsets=10)[0] > 10 * np.std(values)


def test_mmd_by_hand_and_as_torchmetrics_has_it():
    a, b = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    # k(x, y) = (xy + 1)^3: within a 27, within b 1, between the mean of 1, 8, 1 and 27
    assert mmd(a, b) == pytest.approx(27 + 1 - 2 * 37 / 4)
    from torchmetrics.image.kid import poly_mmd

    x, y = (torch.from_numpy(gaussian(300, 64, shift=s, seed=i)) for i, s in enumerate((1.0, 1.1)))
    assert mmd(x, y) == pytest.approx(float(poly_mmd(x.double(), y.double())), rel=1e-4)


def test_kid_of_all_images_is_one_value_without_a_spread():
    a, b = gaussian(50, 6), gaussian(50, 6, shift=0.3, seed=1)
    value, spread = kid(a, b)
    assert value == mmd(torch.from_numpy(a), torch.from_numpy(b)) and np.isnan(spread)
    assert kid(a, b, subset=30)[1] > 0 and kid(a, b[:40])[1] > 0


def test_inception_score_of_sure_and_unsure_classes_and_as_torch_fidelity_has_it():
    sure = 50 * np.eye(4)[np.arange(4000) % 4]
    score, spread = inception_score(sure)
    assert score == pytest.approx(4, rel=0.02) and spread < 0.1  # the parts are drawn, so not of exactly equal classes
    assert inception_score(sure[:1].repeat(400, 0)) == (pytest.approx(1), pytest.approx(0))
    assert inception_score(np.zeros((400, 4)))[0] == pytest.approx(1)
    with pytest.raises(ValueError, match="9 images where at least 10"):
        inception_score(sure[:9])
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed (extra: evaluation)")
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = gaussian(500, 20, scale=3)
    theirs = isc_features_to_metric(torch.from_numpy(logits))
    found = inception_score(logits)
    assert found[0] == pytest.approx(theirs["inception_score_mean"], rel=0.02)  # other parts
    assert inception_score(logits, 1)[0] == pytest.approx(
        isc_features_to_metric(torch.from_numpy(logits), splits=1)["inception_score_mean"]
    )


def test_prdc_of_constructed_sets():
    cluster, far = gaussian(60, 3), gaussian(60, 3, shift=100, seed=1)
    assert prdc(cluster, far) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    same = prdc(cluster, cluster + 1e-4)
    assert same["precision"] == same["recall"] == same["coverage"] == 1
    # half of the synthetic images far away: precision 1/2; half of the real images missed: recall 1/2
    half = np.concatenate([cluster[:30], far[:30]])
    assert prdc(cluster, half)["precision"] == 0.5
    assert prdc(half, cluster)["recall"] == 0.5
    with pytest.raises(ValueError, match="more than k = 5"):
        prdc(cluster[:5], far)


def test_prdc_is_that_of_the_prdc_package():
    package = pytest.importorskip("prdc", reason="prdc is not installed (extra: evaluation)")
    real, synthetic = gaussian(1300, 16), gaussian(1100, 16, shift=0.2, scale=1.1, seed=1)
    expected = package.compute_prdc(real_features=real, fake_features=synthetic, nearest_k=5)
    assert prdc(real, synthetic) == pytest.approx({k: float(v) for k, v in expected.items()}, abs=2e-3)


def test_fid_and_kid_are_those_of_torch_fidelity():
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed (extra: evaluation)")
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    a, b = gaussian(400, 24), gaussian(300, 24, shift=0.3, seed=1)
    statistics = (fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b))
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert fid(a, b) == pytest.approx(expected, rel=1e-5)
    options = {"kid_subsets": 100, "kid_subset_size": 200, "verbose": False}
    theirs = kid_features_to_metric(torch.from_numpy(a), torch.from_numpy(b), **options)
    mean, spread = kid(a, b, subset=200)
    error = 3 * spread / np.sqrt(100) * np.sqrt(2)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], abs=error)
    assert spread == pytest.approx(theirs["kernel_inception_distance_std"], rel=0.5)


def test_blocks_bound_the_memory():
    """Of 3000 x 30000 distances, 360 MB at once, two blocks of 64 rows are 15 MB; read from a process of its own."""
    script = """if True:
        import resource, numpy as np, torch
        from evaluation.features import neighbours
        torch.set_num_threads(1)
        neighbours.BLOCK = 64
        a, b = (np.random.default_rng(i).random((n, 8), dtype=np.float32) for i, n in enumerate((3000, 30000)))
        neighbours.nearest(a[:64], b)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        neighbours.nearest(a, b)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 60 * 1024  # KiB


def test_nearest_neighbours_are_exact_far_from_the_origin():
    points = gaussian(1500, 4) + 1e3
    distances, indices = nearest(points[:1200], points, k=2)
    assert (indices[:, 0] == np.arange(1200)).all() and (distances[:, 0] == 0).all()
    brute = np.linalg.norm(points[:50, None].astype(float) - points[None], axis=-1)
    assert np.allclose(np.sort(brute, axis=1)[:, 1], distances[:50, 1])
    own = nearest(points, points, itself=True)
    assert (own[1][:, 0] != np.arange(1500)).all() and np.allclose(own[0][:50, 0], np.sort(brute, 1)[:, 1])


@pytest.mark.parametrize("distance", [fid, kid, prdc])
def test_features_that_are_not_finite_are_refused(distance):
    broken = gaussian(20, 4)
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="features of 1 of 20 images are not finite"):
        distance(gaussian(20, 4, seed=1), broken)
