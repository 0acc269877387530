"""Gradients of the line integrals: the dot-product test, and every backend against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drr import ConeBeam, Volume, project
from drr.projection.adjoint import back_project
from drr.projection.ray import project_rays

POSES = [(0, 0), (40, 0), (90, 0), (45, 35), (15, 80)]


def scene(turn: float, tip: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, ConeBeam]:
    """Noise without voxels near the clamps of HU -> mu, so that the projection is affine in it."""
    rng = np.random.default_rng(0)
    hu = rng.uniform(200, 1500, (12, 14, 16))
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = -(np.array([16, 14, 12]) - 1) / 2 * [2, 2.5, 3]
    beam = ConeBeam((0, 300, 0), (-30, -60, 30), (4, 0, 0), (0, 0, -4), (16, 16))
    return hu, rng.integers(0, 3, hu.shape).astype(np.uint8), affine, beam.orbit(turn).orbit(tip, (1, 0, 0))


@pytest.mark.parametrize("turn, tip", POSES)
def test_dot_product(turn, tip):
    """<A x, y> = <x, A' y> to rounding, for total and bone together."""
    hu, bone, affine, beam = scene(turn, tip)
    rng = np.random.default_rng(1)
    step, y = rng.normal(size=hu.shape), rng.normal(size=(2, *beam.shape))
    forward = project_rays(hu + step, bone, affine, beam) - project_rays(hu, bone, affine, beam)
    backward = back_project(hu, bone, affine, beam, y)
    assert (forward * y).sum() == pytest.approx((step * backward).sum(), rel=1e-9)


@pytest.mark.parametrize("turn, tip", POSES)
def test_cpu_gradient_is_that_of_torch_clamps_included(turn, tip):
    _, bone, affine, beam = scene(turn, tip)
    hu = torch.from_numpy(np.random.default_rng(2).uniform(-1300, 400, bone.shape)).float()
    weight = torch.from_numpy(np.random.default_rng(3).normal(size=(1, 3, *beam.shape))).float()
    gradients = []
    for backend in ("torch", "cpu"):
        leaf = hu.clone().requires_grad_()
        (project(Volume(leaf, affine, bone=bone), [beam], backend=backend) * weight).sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5 * float(gradients[0].abs().max()))


def test_pose_gradient_is_the_finite_difference():
    """d(lines) / d(turn) through `moved`, on a smooth volume."""
    z, y, x = np.indices((24, 24, 24)) - 11.5
    hu = torch.from_numpy(1000 * np.exp(-(x**2 + 2 * y**2 + z**2 + x * y) / 60) - 1000 + 1e-3)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -23
    volume = Volume(hu, affine)
    beam = ConeBeam((0, 400, 0), (-20, -80, 20), (2.5, 0, 0), (0, 0, -2.5), (17, 17))
    weight = torch.linspace(-1, 1, 17)

    def loss(angle: torch.Tensor) -> torch.Tensor:
        c, s, nil, one = torch.cos(angle), torch.sin(angle), 0 * angle, 0 * angle + 1
        rows = [[c, -s, nil, 3 * s], [s, c, nil, nil], [nil, nil, one, nil], [nil, nil, nil, one]]
        turn = torch.stack([torch.stack(row) for row in rows])
        return (project(volume, [beam.moved(turn)], ["total"])[0, 0].double() * weight).sum()

    angle = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    loss(angle).backward()
    step = 1e-3
    with torch.no_grad():
        expected = (loss(angle + step) - loss(angle - step)) / (2 * step)
    assert float(angle.grad) == pytest.approx(float(expected), rel=5e-3)
    assert abs(float(expected)) > 0.1


def test_a_volume_is_recovered_by_descent():
    """A few steps along the gradient bring the projections to those of the truth."""
    hu, _, affine, beam = scene(0, 0)
    truth = [project(Volume(hu, affine), [beam.orbit(t)], ["total"], "cpu") for t in (0, 60, 120)]
    guess = torch.full(hu.shape, 800.0, requires_grad=True)
    optimiser = torch.optim.Adam([guess], lr=60)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        views = [project(Volume(guess, affine), [beam.orbit(t)], ["total"], "cpu") for t in (0, 60, 120)]
        loss = sum(((view - true) ** 2).sum() for view, true in zip(views, truth))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 10


def test_a_pose_gradient_is_not_silently_lost():
    hu, _, affine, beam = scene(0, 0)
    moving = beam.moved(torch.eye(4, dtype=torch.float64, requires_grad=True))
    with pytest.raises(ValueError, match="no gradient in the beam's pose"):
        project(Volume(hu, affine), [moving], ["total"], "cpu")
