"""A foreign file of weights as tensors by name, and the strict filling of one of our models with them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from radiolucent.convert.unpickle import find_tensors, read_pickle, refuse_other_archives

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Source:
    """A foreign file of weights.

    Attributes:
        tensors: By name.
        modules: Class and plain attributes by path, if whole modules were pickled.
        config: A YAML's or JSON's.
        how: The reader that read the weights.
    """

    tensors: Tensors
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    how: str = "safetensors"

    def within(self, marker: str) -> Source | None:
        """The part whose names begin where a tensor has its shortest prefix.

        That undoes wrappers: {"state_dict": ...}, DataParallel's `module.`, a LightningModule's `model.`.

        Args:
            marker: The tensor's name without a prefix.

        Returns:
            The part; None without such a tensor.
        """
        ends = [name for name in self.tensors if name == marker or name.endswith(f".{marker}")]
        if not ends:
            return None
        prefix = min(ends, key=len).removesuffix(marker)
        modules = (
            {
                f"{path}.".removeprefix(prefix).removesuffix("."): value
                for path, value in self.modules.items()
                if f"{path}.".startswith(prefix)
            }
            if prefix
            else self.modules
        )
        return replace(self, tensors=select(self.tensors, prefix), modules=modules)

    def attribute(self, path: str, name: str, default: Any = None) -> Any:
        """A plain attribute of a pickled module.

        Args:
            path: Of the module.
            name: Of the attribute.
            default: If there is none.

        Returns:
            Its value, a number, text, or a list of them; `default` also where only tensors were saved.
        """
        return self.modules.get(path, {}).get(name, default)


def read_source(path: Path, allow_pickle: bool, config: dict[str, Any]) -> Source:
    """Read safetensors, a torch file of tensors alone, or, if allowed, the tensors of any other pickle.

    Args:
        path: The file.
        allow_pickle: Whether pickles are read, of which no code runs.
        config: That comes with it.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is refused, with the reason.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file of weights: give a .safetensors, .pt, .pth or .ckpt file")
    if path.suffix == ".safetensors":
        try:
            return Source(load_file(path), config=config)
        except SafetensorError as error:
            raise ValueError(f"{path} is no safetensors file: {error}") from None
    refuse_other_archives(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        if not allow_pickle:
            raise ValueError(_refusal(path)) from error
        tensors, modules = read_pickle(path)
        return Source(tensors, modules, config, "restricted unpickler")
    tensors = dict(find_tensors(loaded, "", {}))
    if not tensors:
        raise ValueError(f"{path} holds no tensors: give the file of a model's weights")
    return Source(tensors, config=config, how="torch weights_only")


def _refusal(path: Path) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # an older format, or no torch file at all: nothing more to tell
        names = []
    asks = f" (it asks for {', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    return (
        f"{path} is refused: it is a pickle, not tensors alone{asks}, and reading a pickle can run any code. "
        "--allow-pickle reads its tensors and module structure in a separate process that runs none of its code."
    )


def select(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors below `prefix`, without it.

    Args:
        tensors: By name.
        prefix: With its dot at the end.

    Returns:
        The same tensors, not copied; empty if none lies there.
    """
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def rename(tensors: Tensors, rules: Iterable[tuple[str, str]]) -> Tensors:
    """The tensors under other names.

    Args:
        tensors: By name.
        rules: Regular expressions and their replacements, applied in turn.

    Returns:
        By new name.
    """
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def count(tensors: Mapping[str, Any], pattern: str) -> int:
    r"""How many numbers stand in names where a pattern has its first group.

    Args:
        tensors: By name.
        pattern: Such as r"blocks\.(\d+)\.".

    Returns:
        How many different ones, so that blocks 0, 1 and 2 give 3.
    """
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})


def need(tensors: Tensors, name: str, kind: str) -> Tensor:
    """The tensor of that name.

    Args:
        tensors: By name.
        name: The whole name.
        kind: What the weights should be, for the message.

    Returns:
        The tensor, not copied.

    Raises:
        ValueError: There is none.
    """
    if name not in tensors:
        first = ", ".join(list(tensors)[:3])
        raise ValueError(f"these weights are not {kind}: there is no {name} among them (but {first}, ...)")
    return tensors[name]


def fill(model: nn.Module, tensors: Tensors, what: str) -> None:
    """Load every tensor into a model, as float32.

    Args:
        model: Filled in place.
        tensors: By name.
        what: For the message.

    Raises:
        ValueError: Names the first that are missing, left over or unlike.
    """
    expected = model.state_dict()
    shapes = {name for name in expected.keys() & tensors.keys() if expected[name].shape != tensors[name].shape}
    problems = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "left over": sorted(tensors.keys() - expected.keys()),
        "of another shape": sorted(shapes),
    }
    told = [
        f"{len(names)} {problem} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for problem, names in problems.items()
        if names
    ]
    if told:
        raise ValueError(f"these weights do not fit {what}: {'; '.join(told)}")
    model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
    model.eval()


def with_usage(state: Tensors, model: Any) -> Tensors:
    """The state with the buffers that our quantiser has besides: every code in use, so that none is drawn anew.

    Args:
        state: Converted tensors, by our VQ-GAN's names.
        model: Our VQ-GAN, whose quantiser has those buffers.

    Returns:
        A new dict; what `state` holds itself stays as it is.
    """
    buffers = {name: value.clone() for name, value in model.quantizer.named_buffers(prefix="quantizer")}
    buffers["quantizer.usage"].fill_(1 / len(buffers["quantizer.usage"]))
    return buffers | state
