"""Measuring as one: repeated images left out, means and deviations over processes, seeds by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lightning_modules.processes import Means, Spread, among_first, image_seeds, own_images, unit_scale


def batch(positions: list[int] | None, size: int = 3) -> dict:
    images = {"radiograph": torch.arange(size).float(), "name": [f"n{i}" for i in range(size)]}
    return images if positions is None else {**images, "position": positions}


def test_repeated_images_are_left_out():
    kept, count = own_images(batch([4, 6, -1]))
    assert count == 2 and kept["name"] == ["n0", "n1"] and kept["position"] == [4, 6]
    assert kept["radiograph"].tolist() == [0, 1]
    whole, count = own_images(batch([-1, -1, -1]))
    assert count == 0 and len(whole["name"]) == 3
    assert own_images(batch(None))[1] == 3


def test_the_first_images_are_those_of_the_whole_order():
    assert among_first(batch([2, 4, 6]), 5, images=5) == 2
    assert among_first(batch([2, -1, -1]), 0, images=5) == 1
    assert [among_first(batch(None), i, images=2) for i in (0, 1)] == [2, 0]  # a loader that is not ours


def test_a_seed_depends_on_the_name_and_the_keys_alone():
    one, other = image_seeds(batch([0, 1, 2]), 7, 1), image_seeds(batch([5, 6, 7], size=2), 7, 1)
    assert one[:2] == other and len(set(one)) == 3
    assert set(one).isdisjoint(image_seeds(batch(None), 7, 0))


def test_means_weigh_batches_by_their_images_and_start_anew():
    means = Means()
    means.add("a", torch.tensor(1.0), 3)
    means.add("a", torch.tensor(5.0), 1)
    assert means.collect() == {"a": 2.0} and means.collect() == {}


def test_the_deviation_is_that_of_all_numbers():
    values = torch.randn(1000) * 3 + 20
    spread = Spread()
    for part in values.split(170):
        spread.add(part)
    assert spread.collect() == pytest.approx(values.double().std().item(), rel=1e-9)


@pytest.mark.parametrize("deviation", [0.0, float("nan"), float("inf")])
def test_latents_that_no_scale_brings_to_one_are_refused(deviation):
    assert unit_scale(3.0, 2.0) == 1.5
    with pytest.raises(ValueError, match="no scale brings it to 1"):
        unit_scale(1.0, deviation)


RANKS = """
import os, sys
import torch
from torch import distributed
from lightning_modules.processes import Means, Spread
store = sys.argv[1]
other = os.fork()  # before anything has run, so that both have what takes long to import
rank = 0 if other else 1
distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
means, spread = Means(), Spread()
means.add("all", torch.tensor(float(rank)), 3 - 2 * rank)  # 0 three times, 1 once
if rank:
    means.add("second", torch.tensor(8.0), 1)
spread.add(torch.arange(3.0) + 3 * rank)
line = f"{means.collect()} {spread.collect()}\\n"
os.write(1, line.encode())  # in one piece: both write into one pipe
distributed.destroy_process_group()
if other:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
"""


def test_two_processes_count_every_image_once(tmp_path):
    command = [sys.executable, "-c", RANKS, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    expected = f"{{'all': 0.25, 'second': 8.0}} {torch.arange(6.0).double().std().item()}"
    assert done.stdout.splitlines() == [expected] * 2
