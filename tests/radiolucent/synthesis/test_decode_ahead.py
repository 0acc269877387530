"""Sampling of a lot beside the decoding of the one before."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from radiolucent.synthesis.decode_ahead import Overlap


class Decoder(nn.Module):
    """Doubles; lot 0 waits in it until lot 1 has been sampled."""

    def __init__(self, sampled: list[threading.Event]) -> None:
        super().__init__()
        self.sampled = sampled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if int(x) == 0:
            assert self.sampled[1].wait(30), "lot 1 was not sampled while lot 0 was decoded"
        return 2 * x


def test_the_next_lot_is_sampled_while_one_is_decoded_and_never_two_at_once() -> None:
    sampled = [threading.Event() for _ in range(6)]
    decoder = Decoder(sampled)
    overlap = Overlap(decoder, "cpu")
    alone = threading.Lock()

    def draw(lot: int) -> int:
        with overlap.turn():
            assert alone.acquire(blocking=False)
            assert torch.get_num_threads() == 1
            x = torch.tensor(lot)
            sampled[lot].set()
            alone.release()
            return int(decoder(x))

    assert list(overlap.map(draw, range(6))) == [0, 2, 4, 6, 8, 10]


def test_a_lot_that_fails_lets_the_next_one_sample() -> None:
    overlap = Overlap(None, "cpu")

    def draw(lot: int) -> int:
        with overlap.turn():
            return 1 // lot

    results = overlap.map(draw, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(overlap.map(draw, [1, 1])) == [1, 1]
