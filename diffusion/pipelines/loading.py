"""Which class a suppression model's folder is of, and the model."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from diffusion.complete import refuse_incomplete
from diffusion.finite import refuse_broken
from diffusion.folders import MODULE, class_name, read_model_index
from diffusion.pipelines.contract import SuppressionModel, SuppressionPipeline
from diffusion.pipelines.regression import BoneRegressionPipeline
from diffusion.pipelines.suppression import BoneSuppressionPipeline

KNOWN = {kind.__name__: kind for kind in (BoneSuppressionPipeline, BoneRegressionPipeline)}
PACKAGE = "diffusion"  # a folder that names a class in here needs nobody's trust


def load_suppression_model(folder: str | Path, trust_remote_code: bool = False) -> Any:
    """The suppression model of a folder, on the CPU.

    Args:
        folder: What `save_pretrained` of a SuppressionPipeline wrote.
        trust_remote_code: Whether code in the folder may run, for a class that is not in this package.

    Returns:
        A SuppressionModel, which is a DiffusionPipeline too.

    Raises:
        FileNotFoundError: No such folder, or parts are missing.
        ValueError: A model of another kind, with code of its own that is not trusted, or with weights that are not
            finite or not all there.
    """
    kind = pipeline_class(Path(folder))
    if kind is not None:
        return kind.from_pretrained(folder)
    if not trust_remote_code:
        name = class_name(read_model_index(Path(folder) / "model_index.json"))
        raise ValueError(
            f"{folder} holds a {name}, whose code lies in the folder and is not Radiolucent's: read it, and if you "
            "trust it, say so by --trust-remote-code (in Python trust_remote_code=True)"
        )
    options: dict[str, Any] = {"low_cpu_mem_usage": False, "use_safetensors": True}
    pipeline: Any = DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True, **options)
    components = pipeline.components
    if not isinstance(pipeline, SuppressionModel):
        raise ValueError(
            f"{folder} holds a {type(pipeline).__name__}, which is no suppression model: derive it from "
            "diffusion.SuppressionPipeline"
        )
    refuse_incomplete(components, Path(folder))
    refuse_broken(components, folder)
    return pipeline


def pipeline_class(folder: Path) -> type[SuppressionPipeline] | None:
    """The class of a folder's pipeline; None for one that is not in this package but whose code lies in the folder.

    For a folder that is not a suppression model's at all it is BoneSuppressionPipeline, which says what is wrong.

    Args:
        folder: On a disk; names of the hub are resolved before.

    Returns:
        A class to call `from_pretrained` on; nothing of the folder's code was run to find it.

    Raises:
        ValueError: A model of this package, but of a class or module that this version lacks or that does not suppress.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        return BoneSuppressionPipeline
    index = read_model_index(path)
    name, module = class_name(index), index.get(MODULE)
    if name in KNOWN:
        return KNOWN[name]
    if isinstance(module, str) and module.split(".")[0] == PACKAGE:
        kind: Any = getattr(_module(module, folder), str(name), None)
        if not (isinstance(kind, type) and issubclass(kind, SuppressionPipeline)):
            raise ValueError(f"{folder} holds a {name} of {module}, which is no suppression model of this version")
        return kind
    imported: Any = getattr(sys.modules.get(str(module)), str(name), None)
    if isinstance(imported, type) and issubclass(imported, SuppressionPipeline):
        return imported  # nothing of the folder's runs
    given = index.get("_class_name")
    has_code = isinstance(given, list) and (folder / f"{given[0]}.py").is_file()
    return None if has_code else BoneSuppressionPipeline


def _module(name: str, folder: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(f"{folder} names {name}, which this version of Radiolucent does not have") from None
