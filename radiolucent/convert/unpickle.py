"""Read the tensors and the module structure of a pickle, and run none of the code that it asks for.

A pickle names functions and classes and calls them. Here only three names are what they say (ALLOWED, beside dtypes and
tensor storages, which hold numbers); every other name becomes a stand-in class that stores what it is called or set
with. Nothing is imported by name. `read_pickle` does this in a process of its own and takes back a safetensors file.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tarfile
import tempfile
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

ALLOWED = {
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("collections", "OrderedDict"): OrderedDict,
}
# The child sees the parent's search path, and not the folder it is started in, where a file may be named like a module.
CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[3]); from radiolucent.convert.unpickle import main; main()"


class StandIn:
    """What a forbidden name yields when called: it keeps its arguments, its state and what is put into it."""

    origin = ""  # module.name in the pickle
    arguments: tuple = ()
    state: Any = None

    def __new__(cls, *arguments: Any, **_: Any) -> StandIn:
        """Keep what the forbidden name is called with."""
        self = super().__new__(cls)
        self.arguments = arguments
        return self

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Ignore what a pickled list would take.

        Args:
            value: Not kept.
        """
        pass

    def extend(self, values: Any) -> None:
        """Ignore what a pickled list would take.

        Args:
            values: Not kept.
        """
        pass


class RestrictedUnpickler(pickle.Unpickler):
    """Finds the allowed names and dtypes, and stand-ins for all others; torch.load itself finds storages."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for.

        Args:
            module: That it names.
            name: In the module.

        Returns:
            An allowed object, a dtype, or a new stand-in class.
        """
        allowed = ALLOWED.get((module, name))
        if allowed is not None:
            return allowed
        dtype = vars(torch).get(name) if module == "torch" else None
        if isinstance(dtype, torch.dtype):
            return dtype
        return type("StandIn", (StandIn,), {"origin": f"{module}.{name}"})


def _load(file: Any, **options: Any) -> Any:
    return RestrictedUnpickler(file, **options).load()


# what torch.load expects of a pickle module
RESTRICTED = types.SimpleNamespace(__name__="restricted", Unpickler=RestrictedUnpickler, load=_load)


def refuse_other_archives(path: Path) -> None:
    """Refuse TorchScript and tar archives, which torch.load would give to readers that are not restricted.

    Args:
        path: The file; its content is looked at, not its name.

    Raises:
        ValueError: It is one of them.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist()):
                raise ValueError(f"{path} is a TorchScript archive, which holds code: give the file of weights instead")
    elif tarfile.is_tarfile(path):
        raise ValueError(f"{path} is a tar archive: unpack it, and give the file of weights inside")


def find_tensors(value: Any, path: str, modules: dict[str, dict[str, Any]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in dictionaries, lists and stand-in modules.

    Args:
        value: Where to look.
        path: Of the value, dotted.
        modules: Filled with {path: {"class": name, attribute: number, text or list of them, ...}}.

    Yields:
        (dotted path, tensor), named as in a module's state dict.
    """
    prefix = f"{path}." if path else ""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_tensors(item, f"{prefix}{key}", modules)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from find_tensors(item, f"{prefix}{index}", modules)
    elif isinstance(value, StandIn) and isinstance(value.state, dict) and "_modules" in value.state:
        state = value.state
        modules[path] = {"class": value.origin} | {key: item for key, item in state.items() if _is_plain(item)}
        unsaved = state.get("_non_persistent_buffers_set")  # a set, and so a stand-in called with a list
        passing = unsaved.arguments[0] if isinstance(unsaved, StandIn) and unsaved.arguments else ()
        buffers = {name: value for name, value in (state.get("_buffers") or {}).items() if name not in passing}
        for group in (state.get("_parameters"), buffers, state["_modules"]):
            yield from find_tensors(group, path, modules)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, (bool, int, float, str))


def load_restricted(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    """As `read_pickle`, in this process; any exception is a file that is damaged or asks for too much.

    Args:
        path: What torch.save wrote, in either of its formats.

    Returns:
        Tensors on the CPU by dotted name, and the modules' classes and plain attributes by path.
    """
    loaded = torch.load(path, map_location="cpu", pickle_module=RESTRICTED, weights_only=False)
    modules: dict[str, dict[str, Any]] = {}
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in find_tensors(loaded, "", modules)}
    return tensors, modules


def main() -> None:
    """In the child: argv holds the pickle's path and the safetensors file to write; a failure is one line on stderr."""
    source, target = sys.argv[1:3]
    try:
        tensors, modules = load_restricted(source)
        save_file(tensors, target, metadata={"modules": json.dumps(modules)})
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")


def read_pickle(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    """The tensors of a file that torch.save wrote, read in a process of its own.

    Args:
        path: The file.

    Returns:
        Tensors by dotted name, and the modules' classes and plain attributes by path.

    Raises:
        ValueError: It is no pickle of torch's or holds no tensors.
    """
    refuse_other_archives(path)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tensors.safetensors"
        search = json.dumps([entry for entry in sys.path if entry])
        command = [sys.executable, "-I", "-W", "ignore", "-c", CHILD, str(path), str(target), search]
        child = subprocess.run(command, capture_output=True, text=True)
        if child.returncode:
            reason = child.stderr.strip().splitlines()[-1:] or [f"the reader ended with status {child.returncode}"]
            raise ValueError(f"{path} could not be read as a file of torch.save: {reason[0]}")
        with safe_open(target, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            modules = json.loads(file.metadata()["modules"])
    if not tensors:
        raise ValueError(f"{path} is a pickle without tensors: give the file of a model's weights")
    return tensors, modules
