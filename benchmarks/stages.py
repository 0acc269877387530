"""Where a piece of work spends its CPU time, by the functions that it calls."""

from __future__ import annotations

import functools
import importlib
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any
from unittest import mock


def time_stages(work: Callable[[], Any], stages: Mapping[str, str], times: int) -> dict[str, float]:
    """Median CPU milliseconds of some functions in a piece of work, of this process and all its threads.

    A function's time is without that of the others that it calls, so that all of them and "the rest" add up to the
    whole, up to medians.

    Args:
        work: Run once to warm up, then `times` times.
        stages: {name: "package.module:function"}, in the module in which it is looked up when it is called.
        times: Runs.

    Returns:
        {name: milliseconds} in the order of `stages`, then "the rest" and "all".
    """
    runs: list[dict[str, float]] = []
    stack: list[float] = []  # time of inner functions, of each function that is running

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            begin = time.process_time()
            stack.append(0.0)
            try:
                return function(*args, **options)
            finally:
                spent = time.process_time() - begin
                runs[-1][name] += spent - stack.pop()
                if stack:
                    stack[-1] += spent

        return call

    with ExitStack() as patches:
        for name, place in stages.items():
            module, attribute = place.split(":")
            function = getattr(importlib.import_module(module), attribute)
            patches.enter_context(mock.patch(f"{module}.{attribute}", timed(name, function)))
        whole = timed("the rest", work)
        for _ in range(times + 1):
            runs.append(dict.fromkeys((*stages, "the rest"), 0.0))
            whole()
    found = {name: statistics.median(1000 * run[name] for run in runs[1:]) for name in runs[0]}
    return found | {"all": statistics.median(1000 * sum(run.values()) for run in runs[1:])}
