"""A small network that tells a radiograph's view, its turn in quarters, and negatives.

It sees ranks: each pixel of a 96 x 96 copy by its place among all, so that exposure, window and gamma do not matter.
Trained on radiographs rendered from CT, with no patient's radiograph (`benchmarks.train_views`; model/README.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from radiographs.files import atomic_path, read_json
from radiographs.vocabulary import FRONTAL, LATERAL

SIDE = 96  # pixels of the copy that the network sees
CLASSES = ("PA", "AP", "LL", "RL", "other")
SURE = 0.9  # part of a frontal view's probability from which on PA or AP is reported
TURNS = (0, 90, 180, 270)  # degrees counter-clockwise by which the picture lies turned
WIDTHS = (24, 48, 80, 112)
MODEL = Path(__file__).parent / "model"


class ViewNet(nn.Module):
    """Three heads, of view, turn and negative, on four strided convolutions.

    Args:
        widths: Channels of the stages, each of half the size of the one before.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = 1
        for width in widths:
            stages += [nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(before * 9, len(CLASSES) + len(TURNS) + 1)

    def forward(self, ranks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of views (B, 5), turns (B, 4) and negative (B,), of ranks (B, 1, 96, 96).

        Args:
            ranks: As `to_ranks` makes them.

        Returns:
            Logits in the order of CLASSES and of TURNS; a negative is one whose last logit is above 0.
        """
        pooled = F.adaptive_avg_pool2d(self.stages(ranks), 3).flatten(1)
        logits = self.head(self.dropout(pooled))
        views, turns, negative = logits.split([len(CLASSES), len(TURNS), 1], dim=1)
        return views, turns, negative[:, 0]


@dataclass(frozen=True)
class Verdict:
    """What the classifier says of one picture.

    Args:
        view: One of CLASSES, of the picture once it is upright and positive: the likeliest of frontal, left lateral,
            right lateral and other first, and then, of a frontal one, the likelier of PA and AP.
        probability: Of that view.
        turn_degrees: By which it lies turned, counter-clockwise.
        negative: Whether its bones are dark.
        probabilities: {class: probability}.
        upright: Probability that it does not lie turned.
        positive: Probability that its bones are bright.
    """

    view: str
    probability: float
    turn_degrees: int
    negative: bool
    probabilities: dict[str, float]
    upright: float
    positive: float

    @property
    def frontal(self) -> float:
        """Probability of a frontal view, PA or AP."""
        return self.probabilities["PA"] + self.probabilities["AP"]

    @property
    def lateral(self) -> float:
        """Probability of a lateral view, left or right."""
        return self.probabilities["LL"] + self.probabilities["RL"]

    @property
    def unsure(self) -> bool:
        """Whether it shows a frontal view of which PA and AP are both likely: neither has nine tenths of it."""
        return self.view in FRONTAL and self.probability < SURE * self.frontal

    def denies(self, view: str) -> bool:
        """Whether it is another view than one of `radiographs.vocabulary.VIEWS`; an unsure frontal may be PA or AP.

        Args:
            view: The view that was asked for; LATERAL is either lateral.

        Returns:
            True if the picture is certainly not that view, as far as the classifier is sure.
        """
        if view == "LATERAL":
            return self.view not in LATERAL
        if view in FRONTAL and self.unsure:
            return False
        return self.view != view

    def probability_of(self, view: str) -> float:
        """Of one of `radiographs.vocabulary.VIEWS`, where PA and AP count as one: the frontal view.

        Args:
            view: LATERAL is either lateral.

        Returns:
            0 .. 1.
        """
        if view == "LATERAL":
            return self.lateral
        return self.frontal if view in FRONTAL else self.probabilities[view]


def to_ranks(pixels: np.ndarray) -> np.ndarray:
    """What the network sees of a radiograph.

    Args:
        pixels: (H, W), of any range.

    Returns:
        float32 (96, 96) in [-1, 1], 1 the brightest; longer pictures get borders of their darkest grey.
    """
    height, width = pixels.shape
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(np.asarray(pixels, np.float32), size, interpolation=cv2.INTER_AREA)
    step = np.float32(1e-6) * np.ptp(small)  # rounding while resizing would put an even border's pixels in some order
    small = np.rint(small / step) if step > 0 else np.zeros_like(small)
    _, places, counts = np.unique(small, return_inverse=True, return_counts=True)
    middles = (2 * np.cumsum(counts) - counts) / small.size - 1  # equal greys share the middle of their places
    ranks = middles[places].reshape(small.shape)
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    canvas = np.full((SIDE, SIDE), ranks.min(), np.float32)
    canvas[top : top + size[1], left : left + size[0]] = ranks
    return canvas


def judge_views(pictures: Sequence[np.ndarray], model: ViewNet | None = None) -> list[Verdict]:
    """The verdict on each picture (H, W), bones supposed to be bright.

    Args:
        pictures: Of any sizes and ranges.
        model: By default the packaged one.

    Returns:
        In the order of the pictures; none for no pictures.
    """
    if not len(pictures):
        return []
    network = load_view_net() if model is None else model.eval()
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack([to_ranks(picture) for picture in pictures]))[:, None]
        views, turns, negative = network(batch)
    rows = zip(views.softmax(1).tolist(), turns.softmax(1).tolist(), negative.tolist(), negative.sigmoid().tolist())
    return [_verdict(view, turn, logit, 1 - dark) for view, turn, logit, dark in rows]


def _verdict(view: Sequence[float], turn: Sequence[float], negative: float, positive: float) -> Verdict:
    named = {name: round(value, 6) for name, value in zip(CLASSES, view)}
    frontal, best = view[0] + view[1], int(np.argmax(view[2:])) + 2
    if frontal >= view[best]:
        best = int(view[1] > view[0])
    return Verdict(CLASSES[best], view[best], TURNS[int(np.argmax(turn))], negative > 0, named, turn[0], positive)


def save_view_net(model: ViewNet, folder: Path, about: dict[str, object]) -> None:
    """model.safetensors (16 bit) and config.json with what is said about it, and the weights' sha256.

    Args:
        model: Of the current `WIDTHS`.
        folder: Made if it is not there; the two files are replaced.
        about: More keys of config.json, such as what it was trained on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as part:
        save_file({name: value.contiguous() for name, value in weights.items()}, part)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    config = {"widths": list(WIDTHS), "classes": list(CLASSES), "turns": list(TURNS), "sha256": digest, **about}
    with atomic_path(folder / "config.json") as part:
        part.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


@lru_cache(maxsize=2)
def load_view_net(folder: Path = MODEL) -> ViewNet:
    """The network of a folder that `save_view_net` wrote, ready to judge.

    Args:
        folder: By default that of the packaged classifier.

    Returns:
        In evaluation mode, float32, on the CPU.

    Raises:
        FileNotFoundError: The folder lacks it.
        ValueError: Other classes than this version's, or weights that are not those of the config.
    """
    config = read_json(folder / "config.json")
    if (config.get("classes"), config.get("turns")) != (list(CLASSES), list(TURNS)):
        raise ValueError(f"{folder}: a classifier of {config.get('classes')}, where {list(CLASSES)} were expected")
    weights = folder / "model.safetensors"
    if hashlib.sha256(weights.read_bytes()).hexdigest() != config.get("sha256"):
        raise ValueError(f"{weights}: not the weights that config.json names by their sha256; copy the folder again")
    model = ViewNet(config["widths"])
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()})
    return model.eval()
