"""The bone suppression protocol: each method beside doing nothing and a blur, in the lungs and the whole image.

Gains over doing nothing lead (`evaluation.suppression.gains`); the metrics that papers give follow, fitted and not. A
method is a folder of results or a model; nodules can be implanted (`evaluation.nodules.implants`) only where there is a
model to suppress them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from evaluation.inputs import match, opposite
from evaluation.nodules.implant_protocol import ImplantRow, implant_rows, truth_rows
from evaluation.nodules.implants import Suppress, contrast_per_mm
from evaluation.suppression import legacy
from evaluation.suppression.contrast import preservation, ring
from evaluation.suppression.gains import GainMeter
from evaluation.suppression.inputs import findings_of, lungs_of, masks_of
from evaluation.suppression.legacy_lpips import AlexNetLPIPS, lpips_published
from evaluation.suppression.lpips import lpips
from evaluation.suppression.metrics import DATA_RANGE, bsr_published, error_ratio, fit_gain_offset, mse, psnr
from evaluation.suppression.ssim import masked_mean, pyramid_ms_ssim, ssim_pyramid
from radiographs import Radiograph, read_together, resize, to_levels
from radiographs.folders import refuse

NOTHING, BLUR = "do nothing", "Gaussian blur"
METRICS = ("mse", "psnr", "ssim", "ms_ssim", "lpips", "bsr_published", "bsr_two_sided")
LEGACY = ("psnr_wrapping", "mse_published", "bsr_one_sided", "lpips_published")
Key = tuple[str, str, bool, str]  # method, region, fitted, metric
Show = Callable[[str, Mapping[str, np.ndarray], Mapping[str, Mapping[str, float]]], None]


@dataclass
class SuppressionResult:
    """Values of every method on every image.

    Attributes:
        names: N images.
        methods: The baselines, then those evaluated.
        regions: Whole image, and lungs if there are masks.
        scores: One value per image under each key.
        legacy: {(method, metric): values}, the published numbers.
        lesions: One row per finding and method.
        gains: {(method, figure): one value per image}, the figures of `GainMeter`.
        shares: {figure: per image, the band's share of doing nothing's error}.
        without_lungs: {image: why} if none were found; its values in the lungs are NaN.
        implants: One row per nodule implanted, of the methods that are models, and of the truth.
        without_nodules: {image: why} none could be implanted.
    """

    names: list[str]
    methods: list[str]
    regions: list[str]
    scores: dict[Key, np.ndarray]
    legacy: dict[tuple[str, str], np.ndarray]
    lesions: list[dict[str, str | float]]
    gains: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    shares: dict[str, np.ndarray] = field(default_factory=dict)
    without_lungs: dict[str, str] = field(default_factory=dict)
    implants: list[ImplantRow] = field(default_factory=list)
    without_nodules: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SuppressionProtocol:
    """What is measured, and how.

    Attributes:
        lungs: "auto" (`radiographs.lungs.inner_lungs`), a folder of masks, or None for whole images only. An image in
            which "auto" finds no lungs is left out of the lungs' means and counted; a missing mask is refused.
        lesions: A folder of masks or a CSV of boxes.
        perceptual: `vqgan.perceptual.VGGPerceptual`; None leaves LPIPS out.
        blur_sigma: Of the baseline, in pixels; None: a 256th of the width.
        legacy: Add the published numbers.
        alexnet: For the published LPIPS among them (`evaluation.suppression.legacy_lpips`).
        device: Where metrics are computed.
        nodules: How many are implanted into each radiograph for each model.
        seed: Of their places.
        resize: Bring results of another size, but not of another aspect, to the truth's; they lack its finest band
            then.
        show: Called with each image's name, its pictures by role, and each method's gains.
        progress: Called with images done and of how many.
    """

    lungs: str | None = "auto"
    lesions: str | None = None
    perceptual: torch.nn.Module | None = None
    blur_sigma: float | None = None
    legacy: bool = False
    alexnet: AlexNetLPIPS | None = None
    device: str = "cpu"
    nodules: int = 12
    seed: int = 0
    resize: bool = False
    show: Show = field(default=lambda name, pictures, gains: None)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)


def evaluate_suppression(
    methods: Mapping[str, str],
    truth: str,
    radiographs: str,
    protocol: SuppressionProtocol,
    models: Mapping[str, Suppress] | None = None,
) -> SuppressionResult:
    """Score methods against the folders `truth` and `radiographs`, matched by file name.

    Args:
        methods: {name: folder of suppressed images}.
        truth: Folder of true soft-tissue images.
        radiographs: Folder of the radiographs.
        protocol: What is measured, and how.
        models: {name: function (H, W) -> (H, W)} that suppress the radiographs themselves.

    Returns:
        The values of all methods, of doing nothing and of a blur, image by image.

    Raises:
        BadInputs: Images that lack a partner, are unreadable, differ in size, look like negatives of their truth, or
            lack a mask or have findings that do not fit, all listed.
        ValueError: A name that is taken, or no method.
    """
    models = models or {}
    taken = {NOTHING, BLUR, "truth", "radiograph"} & {*methods, *models} or set(methods) & set(models)
    if taken:
        raise ValueError(f"'{sorted(taken)[0]}' cannot name a method, or names two: choose another name")
    if not (methods or models):
        raise ValueError("no method to evaluate: give a folder of suppressed images or a model")
    folders = {"radiograph": radiographs, "truth": truth, **methods}
    images = match(folders, resizable=methods if protocol.resize else ())
    lung_paths = masks_of(protocol.lungs, images) if protocol.lungs not in (None, "auto") else {}
    findings = findings_of(protocol.lesions, images)
    collected = _Collected(protocol, models)
    problems: list[str] = []
    for done, (name, paths) in enumerate(images.items()):
        try:
            files = read_together(paths)
            pixels = {role: resize(file.pixels, files["truth"].pixels.shape) for role, file in files.items()}
            mask = lungs_of(protocol.lungs, lung_paths.get(name), pixels, name, collected.without_lungs)
            lesion_masks = findings(name)
        except (ValueError, OSError) as error:
            problems.append(f"{name}: {error}")
            continue
        turned = [role for role in paths if role != "truth" and opposite(pixels[role], pixels["truth"])]
        problems += [f"{name}: {role} looks like a negative of the truth" for role in turned]
        if not problems:  # what is refused in the end needs no scores
            collected.add(name, files["radiograph"], pixels, mask, lesion_masks)
        protocol.progress(done + 1, len(images))
    refuse(", ".join(str(folder) for folder in (truth, *methods.values())), problems)
    return collected.result(list(images), [NOTHING, BLUR, *methods, *models])


class _Collected:
    """What has been measured so far, one value an image under each key."""

    def __init__(self, protocol: SuppressionProtocol, models: Mapping[str, Suppress]) -> None:
        self.protocol, self.models = protocol, models
        self.scores: dict[Key, list[float]] = {}
        self.legacy: dict[tuple[str, str], list[float]] = {}
        self.lesions: list[dict[str, str | float]] = []
        self.gains: dict[tuple[str, str], list[float]] = {}
        self.shares: dict[str, list[float]] = {}
        self.without_lungs: dict[str, str] = {}
        self.implants: list[ImplantRow] = []
        self.without_nodules: dict[str, str] = {}
        self.count = 0

    def add(self, name: str, source: Radiograph, pixels: dict, mask: np.ndarray | None, lesions: list) -> None:
        """Score one image: the arrays by role, its lung mask and its findings."""
        truth, radiograph = pixels.pop("truth"), pixels.pop("radiograph")
        sigma = self.protocol.blur_sigma or truth.shape[1] / 256
        results = {model: suppress(radiograph) for model, suppress in self.models.items()}
        blurred = cv2.GaussianBlur(radiograph, (0, 0), sigma)
        candidates = {NOTHING: radiograph, BLUR: blurred, **pixels, **results}
        gains = self._add_gains(candidates, truth, mask)
        self._add_scores(candidates, truth, mask)
        if self.protocol.legacy:
            for method, image in candidates.items():
                for metric, value in _legacy(image, truth, radiograph, self.protocol.alexnet).items():
                    self.legacy.setdefault((method, metric), []).append(value)
        everything = np.any([lesion.mask for lesion in lesions], axis=0)
        for method, image in candidates.items():
            for lesion in lesions:
                values = preservation(image, truth, lesion.mask, ring(lesion.mask, everything))
                self.lesions.append({"image": name, "finding": lesion.label, "method": method, **values})
        if results and mask is not None and self.protocol.nodules:
            self._add_nodules(name, source, truth, mask, results)
        self.protocol.show(name, {"radiograph": radiograph, "truth": truth, **pixels, **results}, gains)
        self.count += 1

    def _add_gains(self, candidates: dict, truth: np.ndarray, mask: np.ndarray | None) -> dict[str, dict[str, float]]:
        meter = GainMeter(truth, candidates[NOTHING], mask)
        gains = {method: meter(image) for method, image in candidates.items()}
        for method, figures in gains.items():
            _append(self.gains, {(method, figure): value for figure, value in figures.items()}, self.count)
        _append(self.shares, meter.shares(), self.count)
        return gains

    def _add_nodules(self, name: str, source: Radiograph, truth: np.ndarray, mask: np.ndarray, results: dict) -> None:
        try:
            contrast_per_mm(source.pixels, mask)
        except ValueError as error:
            self.without_nodules[name] = str(error)
            return
        seed = (self.protocol.seed, self.count)
        for method, plain in results.items():
            suppress, count = self.models[method], self.protocol.nodules
            self.implants += implant_rows(name, method, source, suppress, mask, count, seed, plain)
        self.implants += truth_rows(name, source, truth, mask)

    def _add_scores(self, candidates: dict, truth: np.ndarray, mask: np.ndarray | None) -> None:
        device = self.protocol.device
        tensors = {method: _tensor(image, device) for method, image in candidates.items()}
        regions = {"whole": None} | ({} if mask is None else {"lungs": _tensor(mask, device)})
        target, before = _tensor(truth, device), tensors[NOTHING]
        found: dict[Key, float] = {}
        for method, prediction in tensors.items():
            plain = ssim_pyramid(prediction, target, DATA_RANGE)  # the same for all regions
            for region, inside in regions.items():
                fitted, nothing = (fit_gain_offset(image, target, inside) for image in (prediction, before))
                network = self.protocol.perceptual
                scores = {
                    False: _score(prediction, target, before, inside, plain, network),
                    True: _score(fitted, target, nothing, inside, ssim_pyramid(fitted, target, DATA_RANGE), network),
                }
                for is_fitted, values in scores.items():
                    found |= {(method, region, is_fitted, metric): value for metric, value in values.items()}
        _append(self.scores, found, self.count)

    def result(self, names: list[str], methods: list[str]) -> SuppressionResult:
        """All of it as arrays of one value per image, NaN where an image has none."""
        lungs = any(key[1] == "lungs" for key in self.scores)
        return SuppressionResult(
            names,
            methods,
            ["whole", "lungs"] if lungs else ["whole"],
            _arrays(self.scores, len(names)),
            {key: np.array(values) for key, values in self.legacy.items()},
            self.lesions,
            _arrays(self.gains, len(names)),
            _arrays(self.shares, len(names)),
            self.without_lungs,
            self.implants,
            self.without_nodules,
        )


def _append(columns: dict[Any, list[float]], values: Mapping[Any, float], count: int) -> None:
    """Add an image's values behind those of `count` others, with NaN for those that lacked a key."""
    for key, value in values.items():
        column = columns.setdefault(key, [])
        column += [float("nan")] * (count - len(column)) + [value]


def _arrays(columns: Mapping[Any, list[float]], count: int) -> dict[Any, np.ndarray]:
    return {key: np.array(values + [float("nan")] * (count - len(values))) for key, values in columns.items()}


def _score(
    prediction: Tensor,
    truth: Tensor,
    radiograph: Tensor,
    mask: Tensor | None,
    pyramid: list[tuple[Tensor, Tensor]],
    network: torch.nn.Module | None,
) -> dict[str, float]:
    values = {
        "mse": mse(prediction, truth, mask),
        "psnr": psnr(prediction, truth, mask),
        "ssim": masked_mean(pyramid[0][0], mask),
        "ms_ssim": pyramid_ms_ssim(pyramid, mask),
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
