"""Learning rates that end with the training: the trainer's length is theirs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR, PolynomialLR

from lightning_modules.schedules import OneCycleToEnd, PolynomialToEnd, build_schedule, training_length


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def rates(schedule, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return found


def module(steps: float = 8, epochs: int | None = None):
    return SimpleNamespace(trainer=SimpleNamespace(estimated_stepping_batches=steps, max_epochs=epochs))


def test_the_rate_falls_to_zero_over_the_training_as_torchs_does():
    one = build_schedule(PolynomialToEnd, optimizer(), module(8))
    assert rates(one, 10) == pytest.approx(rates(PolynomialLR(optimizer(), 8), 10))
    assert one.get_last_lr() == [0]
    epochs = build_schedule(PolynomialToEnd, optimizer(), module(800, epochs=3), "epoch")
    assert epochs.total_iters == 3


def test_one_cycle_has_the_optimizers_rate_as_its_highest():
    one = build_schedule(lambda of: OneCycleToEnd(of, pct_start=0.25), optimizer(), module(12))
    expected = OneCycleLR(optimizer(), max_lr=0.1, total_steps=12, pct_start=0.25)
    assert rates(one, 11) == pytest.approx(rates(expected, 11))


def test_a_checkpoint_of_torchs_schedule_goes_on():
    before = PolynomialLR(optimizer(), 8)
    rates(before, 3)
    resumed = build_schedule(PolynomialToEnd, optimizer(), module(8))
    resumed.load_state_dict(before.state_dict())
    assert (resumed.total_iters, resumed.last_epoch) == (8, 3)


def test_other_schedules_ask_for_no_length():
    made = build_schedule(lambda of: PolynomialLR(of, 5), optimizer(), SimpleNamespace())
    assert made.total_iters == 5
    assert PolynomialToEnd(optimizer(), total_iters=7).total_iters == 7


def test_a_training_without_an_end_is_refused():
    with pytest.raises(ValueError, match=r"has no end: set trainer\.max_steps or trainer\.max_epochs"):
        training_length(module(float("inf")), "step")
    with pytest.raises(ValueError, match=r"has no end: set trainer\.max_epochs"):
        build_schedule(PolynomialToEnd, optimizer(), module(8, epochs=-1), "epoch")
    with pytest.raises(ValueError, match="length of the training is not known"):
        PolynomialToEnd(optimizer())
