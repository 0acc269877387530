"""A saved regression opened for its answers alone: the same networks and numbers, without importing diffusers.

To import diffusers takes longer than to suppress a radiograph. What is opened here answers as the pipeline does, bit
for bit; it can be neither saved nor adapted. Whatever a folder holds that is not exactly what `save_pretrained` of this
version writes is left to the pipeline's own loader, and so is every complaint.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion.finite import refuse_broken
from diffusion.folders import class_name, read_model_index
from diffusion.networks.bone_network import BoneNetwork
from diffusion.networks.site_network import SiteNetwork
from diffusion.pipelines.regression_answers import RegressionAnswers

PIPELINE = "BoneRegressionPipeline"
NUMBERS = ("patch", "trained_size", "flips", "detail_size", "strength")
NETWORKS: dict[tuple[str, str], type[BoneNetwork] | type[SiteNetwork]] = {
    ("diffusion.networks.bone_unet", "BoneUNet"): BoneNetwork,
    ("diffusion.networks.site_unet", "SiteUNet"): SiteNetwork,
}
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
HALVES = (torch.float16, torch.bfloat16)  # which the pipeline's loader, too, makes float32


@dataclass(frozen=True)
class Answer:
    """What a call returns.

    Attributes:
        soft: (B, 1, H, W) float32 in [-1, 1], bones gone.
    """

    soft: Tensor


class InFloat32(nn.Module):
    """A layer that computes in float32 whatever the layers around it do.

    Args:
        layer: Its weights are float32; it runs outside of autocast.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """The layer's answer.

        Args:
            x: In any precision, of the shape that the layer takes.

        Returns:
            What the layer gives of it, float32.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self.layer(x.float())


class BareRegression(RegressionAnswers):
    """A regression's networks and numbers, see BoneRegressionPipeline.

    Args:
        unet: Its network.
        site: A site's correction, or None.
        config: Its NUMBERS.
    """

    output_class = Answer

    def __init__(self, unet: BoneNetwork, site: SiteNetwork | None, config: dict[str, Any]) -> None:
        self.unet, self.site, self.config = unet.eval(), None if site is None else site.eval(), config
        self.half = False

    def compute_in_bfloat16(self) -> None:
        """From now on the networks compute in bfloat16, but for their last layers and the wide blurs.

        An answer changes by about a thousandth of the grey range at most; the weights stay as they are.
        """
        self.half = True
        for network in (self.unet, self.site):
            if network is not None:
                network.last = InFloat32(network.last)

    def _taken(self, radiograph: Tensor, tile: int | None) -> Tensor:
        with torch.autocast(radiograph.device.type, torch.bfloat16, enabled=self.half):
            return super()._taken(radiograph, tile)

    @property
    def device(self) -> torch.device:
        """Where the networks lie."""
        return self.unet.first.weight.device

    def to(self, device: str | torch.device) -> BareRegression:
        """Move the networks.

        Args:
            device: Where to.

        Returns:
            The same object.
        """
        for network in (self.unet, self.site):
            if network is not None:
                network.to(device)
        return self

    @property
    def not_adaptable(self) -> str | None:
        """Why a site's correction cannot stand beside the network."""
        return "it was opened for its answers alone: open it with load_suppression_model"


def open_bare(folder: str | Path) -> BareRegression | None:
    """Open a regression's folder.

    Args:
        folder: What `save_pretrained` of a pipeline wrote.

    Returns:
        The regression; None if the folder is another's, or unusual in any way.

    Raises:
        ValueError: Weights that are not finite, or a damaged index.
    """
    folder = Path(folder)
    if not (folder / "model_index.json").is_file():
        return None
    index = read_model_index(folder / "model_index.json")
    given = {name: value for name, value in index.items() if not name.startswith("_")}
    if class_name(index) != PIPELINE or given.keys() != {*NUMBERS, "unet", "site"}:
        return None
    unet = _network(folder / "unet", given["unet"])
    site = None if given["site"] in (None, [None, None]) else _network(folder / "site", given["site"])
    if not isinstance(unet, BoneNetwork) or not (site is None or isinstance(site, SiteNetwork)):
        return None
    if site is None and given["site"] not in (None, [None, None]):
        return None
    refuse_broken({"unet": unet, "site": site}, folder)
    return BareRegression(unet, site, {name: given[name] for name in NUMBERS})


def _network(folder: Path, named: Any) -> nn.Module | None:
    """The network in a component's folder; None where anything is missing, more, or of another kind."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    kind = NETWORKS.get(tuple(named)) if isinstance(named, list) else None
    files = (folder / CONFIG, folder / WEIGHTS)
    if kind is None or not all(file.is_file() for file in files):
        return None
    try:
        config = json.loads(files[0].read_text(encoding="utf-8"))
        sizes = {name: value for name, value in config.items() if not name.startswith("_")}
        if sizes.keys() != signature(kind).parameters.keys():
            return None
        weights = load_file(files[1])
        with torch.device("meta"):
            network = kind(**sizes)
        weights = {name: tensor.float() if tensor.dtype in HALVES else tensor for name, tensor in weights.items()}
        if any(tensor.dtype != torch.float32 for tensor in weights.values()):
            return None
        network.load_state_dict(weights, assign=True)
    except (ValueError, TypeError, AttributeError, RuntimeError, OSError, SafetensorError):
        return None  # the pipeline's loader says what is wrong
    return network
