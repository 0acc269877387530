"""The bone suppression protocol: each method beside doing nothing and a blur; lungs and whole image, fitted and not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from evaluation import legacy
from evaluation.inputs import images_in, match, opposite, read_mask, refuse
from evaluation.legacy_lpips import AlexNetLPIPS, lpips_published
from evaluation.lesions import lesions_from_mask, preservation, read_boxes, ring
from evaluation.lungs import lung_mask
from evaluation.perceptual import lpips
from evaluation.structural import SMALLEST_SIDE
from evaluation.suppression import bsr_published, error_ratio, fit_gain_offset, mse, multiscale_ssim, psnr, ssim
from radiographs import read_radiograph, to_levels
from radiographs.io import radiograph_size

NOTHING, BLUR = "do nothing", "Gaussian blur"
METRICS = ("mse", "psnr", "ssim", "ms_ssim", "lpips", "bsr_published", "bsr_two_sided")
LEGACY = ("psnr_wrapping", "mse_published", "bsr_one_sided", "lpips_published")
Key = tuple[str, str, bool, str]  # method, region, fitted, metric


@dataclass
class SuppressionResult:
    """names: N images; methods: the baselines, then those evaluated; scores: one value per image under each key.

    legacy: {(method, metric): values}. lesions: one row per finding and method.
    """

    names: list[str]
    methods: list[str]
    regions: list[str]
    scores: dict[Key, np.ndarray]
    legacy: dict[tuple[str, str], np.ndarray]
    lesions: list[dict[str, str | float]]


@dataclass(frozen=True)
class SuppressionProtocol:
    """lungs: a folder of masks, "auto" (`evaluation.lungs`), or None for whole images only.

    lesions: a folder of masks or a CSV of boxes. perceptual: `vqgan.perceptual.VGGPerceptual`, or None to leave LPIPS
    out. blur_sigma: of the baseline, in pixels; None is a 256th of the width. legacy: add the published numbers.
    alexnet: for the published LPIPS among them (`evaluation.legacy_lpips`), or None to leave it out.
    """

    lungs: str | None = None
    lesions: str | None = None
    perceptual: torch.nn.Module | None = None
    blur_sigma: float | None = None
    legacy: bool = False
    alexnet: AlexNetLPIPS | None = None
    device: str = "cpu"
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)


def evaluate_suppression(
    methods: Mapping[str, str], truth: str, radiographs: str, protocol: SuppressionProtocol
) -> SuppressionResult:
    """Score the folders `methods` {name: folder} against the folders `truth` and `radiographs`, matched by file name.

    Raises BadInputs with the list of images that lack a partner, are unreadable, differ in size, look like negatives
    of their truth, or have no lungs or findings where masks were given.
    """
    if {NOTHING, BLUR, "truth", "radiograph"} & set(methods):
        raise ValueError(f"'{NOTHING}', '{BLUR}', 'truth' and 'radiograph' cannot name a method: choose another name")
    images = match({"radiograph": radiographs, "truth": truth, **methods})
    lung_paths = _masks(protocol.lungs, images) if protocol.lungs not in (None, "auto") else {}
    findings = _findings(protocol.lesions, images)
    collected = _Collected()
    problems: list[str] = []
    for done, (name, paths) in enumerate(images.items()):
        try:
            pixels = {role: read_radiograph(path).pixels for role, path in paths.items()}
            mask = None
            if protocol.lungs == "auto":
                mask = lung_mask(pixels["radiograph"])
            elif lung_paths:
                mask = read_mask(lung_paths[name])
                if mask.shape != pixels["truth"].shape or not mask.any():
                    raise ValueError(f"a lung mask of {mask.sum()} pixels in {mask.shape[0]}x{mask.shape[1]}")
            lesion_masks = findings(name)
        except (ValueError, OSError) as error:
            problems.append(f"{name}: {error}")
            continue
        turned = [role for role in paths if role != "truth" and opposite(pixels[role], pixels["truth"])]
        problems += [f"{name}: {role} looks like a negative of the truth" for role in turned]
        if not turned:
            collected.add(name, pixels, mask, lesion_masks, protocol)
        protocol.progress(done + 1, len(images))
    refuse(f"{truth} and {', '.join(methods.values())}", problems)
    regions = ["whole"] if protocol.lungs is None else ["whole", "lungs"]
    return SuppressionResult(
        list(images),
        [NOTHING, BLUR, *methods],
        regions,
        {key: np.array(values) for key, values in collected.scores.items()},
        {key: np.array(values) for key, values in collected.legacy.items()},
        collected.lesions,
    )


class _Collected:
    def __init__(self) -> None:
        self.scores: dict[Key, list[float]] = {}
        self.legacy: dict[tuple[str, str], list[float]] = {}
        self.lesions: list[dict[str, str | float]] = []

    def add(
        self, name: str, pixels: dict, mask: np.ndarray | None, lesions: list, protocol: SuppressionProtocol
    ) -> None:
        """Score one image: the arrays by role, its lung mask and its findings."""
        truth, radiograph = pixels.pop("truth"), pixels.pop("radiograph")
        sigma = protocol.blur_sigma or truth.shape[1] / 256
        candidates = {NOTHING: radiograph, BLUR: cv2.GaussianBlur(radiograph, (0, 0), sigma), **pixels}
        tensors = {m: _tensor(p, protocol.device) for m, p in candidates.items()}
        regions = {"whole": None} if mask is None else {"whole": None, "lungs": _tensor(mask, protocol.device)}
        target = _tensor(truth, protocol.device)
        for method, prediction in tensors.items():
            for region, inside in regions.items():
                for fitted in (False, True):
                    scores = _score(prediction, target, tensors[NOTHING], inside, fitted, protocol.perceptual)
                    for metric, value in scores.items():
                        self.scores.setdefault((method, region, fitted, metric), []).append(value)
            if protocol.legacy:
                for metric, value in _legacy(candidates[method], truth, radiograph, protocol.alexnet).items():
                    self.legacy.setdefault((method, metric), []).append(value)
            for lesion in lesions:
                everything = np.any([other.mask for other in lesions], axis=0)
                values = preservation(candidates[method], truth, lesion.mask, ring(lesion.mask, everything))
                self.lesions.append({"image": name, "finding": lesion.label, "method": method, **values})


def _score(
    prediction: Tensor, truth: Tensor, radiograph: Tensor, mask: Tensor | None, fitted: bool, network: object
) -> dict[str, float]:
    if fitted:
        prediction, radiograph = (fit_gain_offset(image, truth, mask) for image in (prediction, radiograph))
    large = min(truth.shape[-2:]) >= SMALLEST_SIDE
    values = {
        "mse": mse(prediction, truth, mask),
        "psnr": psnr(prediction, truth, mask),
        "ssim": ssim(prediction, truth, mask),
        "ms_ssim": multiscale_ssim(prediction, truth, mask) if large else torch.tensor(float("nan")),
        "bsr_published": bsr_published(prediction, truth, radiograph, mask),
        "bsr_two_sided": error_ratio(prediction, truth, radiograph, mask),
    }
    if network is not None:
        with torch.no_grad():
            values["lpips"] = lpips(network, prediction.float(), truth.float(), mask)  # type: ignore[arg-type]
    return {metric: values[metric].item() for metric in METRICS if metric in values}


def _legacy(
    prediction: np.ndarray, truth: np.ndarray, radiograph: np.ndarray, alexnet: AlexNetLPIPS | None
) -> dict[str, float]:
    ours, soft, total = (to_levels(image, 8) for image in (prediction, truth, radiograph))
    values = legacy.psnr_wrapping(ours, soft), legacy.mse_published(ours, soft), legacy.bsr_one_sided(ours, soft, total)
    perceptual = () if alexnet is None else (lpips_published(alexnet, ours, soft),)
    return dict(zip(LEGACY, (*values, *perceptual)))


def _tensor(image: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None, None].to(device).double()


def _masks(folder: str, images: Mapping) -> dict[str, Path]:
    masks = images_in(folder)
    refuse(folder, [f"{name}: no mask" for name in images if name not in masks])
    return masks


def _findings(source: str | None, images: Mapping[str, Mapping[str, Path]]) -> Callable[[str], list]:
    """A function from an image's name to its findings; an image may have none."""
    if source is None:
        return lambda name: []
    if Path(source).is_dir():
        masks = images_in(source)
        refuse(source, [f"{name}: a mask of no image here" for name in masks if name not in images])

        def from_mask(name: str) -> list:
            if name not in masks:
                return []
            mask, shape = read_mask(masks[name]), radiograph_size(images[name]["truth"])
            if mask.shape != shape:
                raise ValueError(f"the findings' mask has {mask.shape} pixels, the image {shape}")
            return lesions_from_mask(mask)

        return from_mask
    if not Path(source).is_file():
        raise FileNotFoundError(f"{source}: there is no such folder of masks or CSV file")
    shapes = {name: radiograph_size(paths["truth"]) for name, paths in images.items()}
    boxes = read_boxes(source, shapes)
    return lambda name: [box.draw(shapes[name]) for box in boxes.get(name, [])]
