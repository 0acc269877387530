"""`radiolucent fit --help` explains every option: jsonargparse reads the Args of classes and functions."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import is_dataclass

import docstring_parser
import pytest
from lightning.pytorch import Callback, LightningDataModule, LightningModule

import diffusion
import lightning_modules
import vqgan
from drr.pairs.draw import PairOptions
from radiolucent.cli import dispatch

LIGHTNING = (LightningModule, LightningDataModule, Callback)
BUILDERS = [diffusion.build_unet, diffusion.build_enhancer, PairOptions]


def told(kind: object) -> set[str]:
    """What the docstrings of a class and of its bases of ours, or of a function, explain."""
    bases = kind.__mro__ if inspect.isclass(kind) else [kind]
    ours = [one for one in bases if not one.__module__.startswith(("torch", "diffusers", "lightning."))]
    return {param.arg_name for one in ours for param in docstring_parser.parse(one.__doc__ or "").params}


def configurable() -> list[object]:
    """What the `class_path`s of a YAML name in our packages."""
    found: list[object] = [*BUILDERS]
    for room in (lightning_modules, diffusion, vqgan):
        found += [value for name in room.__all__ if inspect.isclass(value := getattr(room, name))]
    for module in ("callbacks", "predictions", "data.ct_bodies", "site_module", "data.adaptation", "schedules"):
        home = importlib.import_module(f"lightning_modules.{module}")
        found += [v for v in vars(home).values() if inspect.isclass(v) and v.__module__ == home.__name__]
    return [one for one in dict.fromkeys(found) if not getattr(one, "_is_protocol", False)]


@pytest.mark.parametrize("kind", configurable(), ids=lambda kind: kind.__name__)
def test_every_option_is_explained(kind: object) -> None:
    asked = inspect.signature(kind).parameters.values()
    names = {one.name for one in asked if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    assert names <= told(kind), f"{kind.__name__} does not explain {sorted(names - told(kind))}"


def test_what_is_looked_at_is_what_recipes_name() -> None:
    kinds = configurable()
    assert sum(inspect.isclass(one) and issubclass(one, LIGHTNING) for one in kinds) >= 14
    assert any(is_dataclass(one) for one in kinds)
    assert "gradient_clip" in told(lightning_modules.VQGANModule) and "nothing" not in told(
        lightning_modules.VQGANModule
    )


def test_the_command_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dispatch(["fit", "--model.help", "lightning_modules.vqgan_module.VQGANModule"])
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "Largest norm of each network's gradient; null for none" in shown
