"""Where time goes: parts without the parts that they call, and together the whole."""

from __future__ import annotations

import importlib
import sys
import time
from types import ModuleType

import pytest

from benchmarks.convert import STAGES
from benchmarks.stages import time_stages


def spend(milliseconds: float) -> None:
    """Keep this process's CPU busy."""
    end = time.process_time() + milliseconds / 1000
    while time.process_time() < end:
        pass


def inner() -> None:
    spend(20)


def outer() -> None:
    spend(10)
    sys.modules[__name__].inner()


def work() -> None:
    module: ModuleType = sys.modules[__name__]
    module.outer()
    module.inner()
    spend(30)


def test_parts_are_timed_without_their_parts_and_add_up():
    found = time_stages(work, {"inside": f"{__name__}:inner", "outside": f"{__name__}:outer"}, times=3)
    assert list(found) == ["inside", "outside", "the rest", "all"]
    assert [found[name] for name in found] == pytest.approx([40, 10, 30, 80], abs=4)
    assert inner.__name__ == "inner" and not hasattr(inner, "__wrapped__")  # as it was


def test_a_part_that_raises_is_left_as_it_was():
    with pytest.raises(ZeroDivisionError):
        time_stages(lambda: 1 / 0, {"inside": f"{__name__}:inner"}, times=1)
    assert not hasattr(inner, "__wrapped__")


@pytest.mark.parametrize("place", STAGES.values())
def test_the_conversion_has_the_parts_that_are_timed(place):
    module, name = place.split(":")
    assert callable(getattr(importlib.import_module(module), name))
