"""The quantiser against a direct nearest neighbour; straight-through gradient; dead codes."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from vqgan import VectorQuantizer, codebook_statistics


def trained(codebook_size: int = 6, latent_channels: int = 3) -> VectorQuantizer:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(codebook_size, latent_channels, commitment=0.25)
    torch.nn.init.normal_(quantizer.embedding.weight)
    quantizer.usage.fill_(1 / codebook_size)
    return quantizer


def test_equals_a_direct_nearest_neighbour_and_its_loss():
    quantizer = trained().eval()
    z = torch.randn(2, 3, 4, 5)
    z_q, loss, indices = quantizer(z)
    codes = quantizer.embedding.weight
    for b, r, c in ((b, r, c) for b in range(2) for r in range(4) for c in range(5)):
        nearest = min(range(6), key=lambda k: float((codes[k] - z[b, :, r, c]).square().sum()))
        assert indices[b, r, c] == nearest
        torch.testing.assert_close(z_q[b, :, r, c], codes[nearest], rtol=1e-5, atol=1e-6)
    assert loss.item() == pytest.approx(1.25 * (z_q - z).square().mean().item(), rel=1e-5)
    torch.testing.assert_close(quantizer.lookup(indices), z_q, rtol=1e-5, atol=1e-6)


def test_gradient_goes_straight_through_and_commitment_pulls_z_to_its_code():
    quantizer = trained().eval()
    z = torch.randn(1, 3, 2, 2, requires_grad=True)
    direction = torch.randn(1, 3, 2, 2)
    z_q, loss, _ = quantizer(z)
    (through,) = torch.autograd.grad((z_q * direction).sum(), z, retain_graph=True)
    assert torch.equal(through, direction)
    (pull,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(pull, 0.25 * 2 * (z - z_q).detach() / z.numel(), rtol=1e-4, atol=1e-6)


def test_autocast_does_not_change_the_nearest_code():
    quantizer = trained(codebook_size=256, latent_channels=4).eval()
    z = torch.randn(1, 4, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        indices = quantizer(z)[2]
    assert torch.equal(indices, quantizer(z)[2])


def test_first_batch_initialises_the_whole_codebook():
    quantizer = VectorQuantizer(16, 2, seed=3)
    z = torch.randn(2, 2, 8, 8) + 5
    quantizer(z)
    outputs = z.movedim(1, -1).reshape(-1, 2)
    assert all((outputs == code).all(1).any() for code in quantizer.embedding.weight)


def test_dead_codes_are_revived_from_the_batch_and_live_ones_kept():
    quantizer = trained(codebook_size=4, latent_channels=2)
    quantizer.usage_decay = 0.5
    near, far = torch.tensor([1.0, 0.0]), torch.tensor([100.0, 100.0])
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.stack([near, far, far + 1, far + 2]))
    z = near[:, None, None] + 0.1 * torch.randn(1, 2, 8, 8)
    for _ in range(4):  # shares of the far codes: 1/4 * 0.5**4 = 1/64, still above 0.05 / 4
        quantizer(z)
    assert torch.equal(quantizer.embedding.weight[1:], torch.stack([far, far + 1, far + 2]))
    quantizer(z)  # 1/128: under it
    quantizer(z)
    assert torch.equal(quantizer.embedding.weight[0], near)
    assert quantizer.embedding.weight[1:].max() < 2
    assert codebook_statistics(quantizer(z)[2], 4)[1] == 1.0


def test_revival_depends_on_seed_and_batches_seen_only():
    def codes(seed: int, noise: int) -> torch.Tensor:
        torch.manual_seed(noise)
        quantizer = VectorQuantizer(8, 2, seed=seed)
        quantizer(torch.arange(128.0).reshape(1, 2, 8, 8))
        return quantizer.embedding.weight.detach()

    assert torch.equal(codes(seed=1, noise=0), codes(seed=1, noise=9))
    assert not torch.equal(codes(seed=1, noise=0), codes(seed=2, noise=0))


def test_evaluation_changes_nothing():
    quantizer = VectorQuantizer(8, 2).eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.randn(1, 2, 4, 4))
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())


def test_statistics_of_known_assignments():
    perplexity, used = codebook_statistics(torch.tensor([0, 0, 1, 1, 2, 2, 2, 2]), 8)
    assert perplexity.item() == pytest.approx(math.exp(0.25 * math.log(4) * 2 + 0.5 * math.log(2)))
    assert used.item() == pytest.approx(3 / 8)


RANKS = """
import os, sys
import torch
from torch import distributed
from vqgan import VectorQuantizer
store, *files = sys.argv[1:]
other = os.fork()  # before anything has run, so that both have what takes long to import
rank = 0 if other else 1
distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
quantizer = VectorQuantizer(8, 2)
for step in range(2):
    torch.manual_seed(10 * step + rank)
    quantizer(torch.randn(1, 2, 8, 8))
torch.save(quantizer.state_dict(), files[rank])
distributed.destroy_process_group()  # its threads may not outlive the process
if other:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
"""


def test_two_processes_with_different_batches_keep_one_codebook(tmp_path):
    files = [tmp_path / f"{rank}.pt" for rank in range(2)]
    command = [sys.executable, "-c", RANKS, str(tmp_path / "store"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(file, weights_only=True) for file in files)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["usage"].sum().item() == pytest.approx(1)
