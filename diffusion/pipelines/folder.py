"""SavedPipeline: folders that our classes, the commands and plain diffusers open, from a disk or the Hugging Face hub.

diffusers opens a folder of a class that it does not know where its model_index.json names ["MODULE", "CLASS"] and
MODULE.py lies beside it. That file runs only for who says so (trust_remote_code); our own classes never read it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shutil
import sys
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from diffusion.complete import refuse_incomplete
from diffusion.folders import MODULE, class_name, pipeline_folder, read_model_index

INDEX = "model_index.json"
PATH = "_name_or_path"
OURS = ("diffusion", "vqgan")  # packages that are installed with this one
LIBRARIES = ("diffusers", "transformers")
OPENER = '''"""Opens this folder of Radiolucent: DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)."""

import importlib

try:
    for parts in {parts}:  # diffusers wants the networks' modules imported
        importlib.import_module(parts)
    {name} = importlib.import_module("{module}").{name}
except ImportError as error:
    raise ImportError(
        "this folder holds a {name} of Radiolucent, which is not installed here: install it, by "
        f"`pip install .` in its source folder, and open this folder again ({{error}})"
    ) from error
'''


class SavedPipeline(DiffusionPipeline):
    """A DiffusionPipeline whose saved folder opens by its class and by plain diffusers.

    Example:
        >>> pipeline.save_pretrained("model")  # doctest: +SKIP
        >>> diffusers.DiffusionPipeline.from_pretrained("model", trust_remote_code=True)  # doctest: +SKIP
    """

    def save_config(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **options: Any) -> None:
        """Write model_index.json, and beside it the file by which diffusers finds the class.

        Args:
            save_directory: The pipeline's folder, made if it is not there.
            push_to_hub: Whether diffusers uploads it afterwards.
            options: As diffusers takes them.
        """
        super().save_config(save_directory, push_to_hub=push_to_hub, **options)
        write_opener(self, Path(save_directory))

    @classmethod
    def load_config(cls, pretrained_model_name_or_path: Any, *args: Any, **options: Any) -> Any:
        """As diffusers', with the class's name alone, so that the file beside it is not run.

        Args:
            pretrained_model_name_or_path: A folder on this machine.
            args: As diffusers takes them.
            options: As diffusers takes them.

        Returns:
            What model_index.json holds, with today's modules; in a tuple with more if `options` ask for that.

        Raises:
            ValueError: A component of this package that this version lacks.
        """
        loaded: Any = super().load_config(pretrained_model_name_or_path, *args, **options)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        config["_class_name"] = class_name(config)
        config |= present_homes(config, Path(pretrained_model_name_or_path))
        return loaded

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Any:  # type: ignore[override]
        """Load a folder that `save_pretrained` wrote, or a model of the Hugging Face hub by its name.

        Args:
            pretrained_model_name_or_path: A folder, or OWNER/NAME.
            options: As diffusers takes them: dtype, scheduler=..., cache_dir, revision, token, local_files_only, ...

        Returns:
            The pipeline, on the CPU unless `options` say otherwise.

        Raises:
            FileNotFoundError: Neither a folder nor a model of the hub that can be reached.
            ValueError: A network's weights are not those that its config.json asks for.
        """
        folder = pipeline_folder(pretrained_model_name_or_path, options)
        brought = {} if options.get("trust_remote_code") else imported_components(folder, options)
        pipeline = super().from_pretrained(str(folder), **{"use_safetensors": True, **brought, **options})
        refuse_incomplete({name: part for name, part in pipeline.components.items() if name not in options}, folder)
        return pipeline


def write_opener(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Write beside a model_index.json the file by which diffusers finds the pipeline's class, and name it there.

    A class of ours is imported from the installed package. The source file of any other is copied, as are those of its
    networks that are neither ours nor a library's, so that the folder can be handed on.

    Args:
        pipeline: As it was saved; only its class and its components' classes count.
        folder: With the model_index.json that diffusers wrote; it is rewritten.
    """
    kind = type(pipeline)
    index = read_model_index(folder / INDEX)
    source, home = _own_source(kind), _home(kind)
    module = re.sub(r"(?<!^)(?=[A-Z][a-z])", "_", kind.__name__).lower() if source is None else source.stem
    if source is None:
        parts = {index[name][0] for name in pipeline.components if name in index and index[name][0] is not None}
        own = tuple(sorted(part for part in parts if part.split(".")[0] in OURS))
        text = OPENER.format(name=kind.__name__, module=home, parts=json.dumps(own))
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    else:
        _copy(source, folder / f"{module}.py")
    for name, component in ({} if source is None else pipeline.components).items():
        code = None if component is None else _own_source(type(component))
        if code is not None and (folder / name).is_dir():
            _copy(code, folder / name / f"{type(component).__module__}.py")
    _forget_paths(folder, pipeline.components)
    index.pop(PATH, None)
    index |= {"_class_name": [module, kind.__name__], MODULE: home}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _forget_paths(folder: Path, names: Iterable[str]) -> None:
    """Strike out of the components' configs where each was read from, which diffusers notes: a path of this machine."""
    for path in (folder / name / "config.json" for name in names):
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if config.pop(PATH, None) is not None:
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def present_homes(index: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    """Where the components that an index names in our packages are defined today, {name: [module, class]}.

    A module that moved keeps its old name, by which folders of earlier versions go. diffusers looks into modules that
    are imported already, and only where the class itself is defined.

    Args:
        index: What model_index.json holds.
        folder: For messages.

    Returns:
        Components of other packages are left out.

    Raises:
        ValueError: This version has no such class.
    """
    found = {}
    for name, value in index.items():
        if not name.startswith("_") and _names_a_class(value) and str(value[0]).split(".")[0] in OURS:
            try:
                kind = getattr(importlib.import_module(value[0]), value[1])
            except (ImportError, AttributeError):
                what = f"{value[1]} of {value[0]} as its {name}"
                raise ValueError(f"{folder} names {what}, which this version of Radiolucent does not have") from None
            found[name] = [kind.__module__, kind.__name__]
    return found


def _names_a_class(value: Any) -> bool:
    """Whether an index's value is [module, class], not a list that a pipeline's own option holds."""
    return isinstance(value, (list, tuple)) and len(value) == 2


def _home(kind: type) -> str:
    """Where a class is imported from: its package if that offers it, which outlasts a move of the file."""
    package = kind.__module__.split(".")[0]
    return package if getattr(sys.modules[package], kind.__name__, None) is kind else kind.__module__


def imported_components(folder: Path, given: Container[str]) -> dict[str, Any]:
    """Networks of a folder that come with their code, loaded by the class of that name that is imported already.

    diffusers would run the code in the folder, for which it wants trust_remote_code.

    Args:
        folder: With a model_index.json; without one nothing is loaded.
        given: Names of components that the caller has already.

    Returns:
        {name: network}, as `from_pretrained` takes them; empty for a folder that needs none of this.
    """
    index = read_model_index(folder / INDEX) if (folder / INDEX).is_file() else {}
    found = {}
    for name, value in index.items():
        if _names_a_class(value) and not name.startswith("_") and name not in given and isinstance(value[0], str):
            kind = getattr(sys.modules.get(value[0]), value[1], None)
            if kind is not None and (folder / name / f"{value[0]}.py").is_file():
                found[name] = kind.from_pretrained(folder / name, low_cpu_mem_usage=False, use_safetensors=True)
    return found


def _own_source(kind: type) -> Path | None:
    """The file of a class that is neither ours nor a library's; None for those, and for one without a file."""
    if kind.__module__.split(".")[0] in (*OURS, *LIBRARIES, "builtins"):
        return None
    try:
        found = inspect.getsourcefile(kind)
    except TypeError:
        return None
    return None if found is None or not Path(found).is_file() else Path(found)


def _copy(source: Path, target: Path) -> None:
    if not (target.exists() and target.samefile(source)):
        shutil.copyfile(source, target)
