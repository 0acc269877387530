"""Features and metrics against torch-fidelity: `python -m benchmarks.evaluate [--images 10000] [--rounds 1]`.

Half of the images are "real", half "synthetic": 256x256 grey PNGs. Both sides read the same files and run the same
network, then compute FID and KID (100 subsets of 1000); ours also computes precision, recall, density and coverage.
Neither side keeps features from an earlier run; they take turns. One JSON line: images a second from files to numbers
and CPU seconds with those of the workers (medians of the rounds), and both sides' numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch_fidelity
from torch import Tensor, nn

from evaluation.distributions.fid import fid
from evaluation.distributions.kid import kid
from evaluation.distributions.prdc import prdc
from evaluation.features.extract import Extractor, Reading, Transform, extract
from evaluation.inputs import read_set
from radiographs import write_radiograph

FEATURES = 256


def build_network() -> nn.Module:
    """A small convolutional network with fixed random weights: (B, 3, 256, 256) in 0 .. 255 -> (B, FEATURES)."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    channels = 3
    for width in (16, 64, 128, FEATURES):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


class ForFidelity(torch_fidelity.FeatureExtractorBase):
    """The same network as torch-fidelity wants it."""

    def __init__(self, name: str, features_list: list[str], **options: object) -> None:
        super().__init__(name, features_list)
        self.network = build_network()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("pooled",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "pooled"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network(images.float()),)


def write_images(folder: Path, count: int, seed: int, scale: float) -> None:
    """Smooth random fields with a little noise, so that they compress as radiographs do."""
    import cv2

    random = np.random.default_rng(seed)
    for i in range(count):
        coarse = cv2.resize(
            random.normal(0, scale, (8, 8)).astype(np.float32), (256, 256), interpolation=cv2.INTER_CUBIC
        )
        pixels = coarse + 0.02 * random.standard_normal((256, 256), dtype=np.float32)
        write_radiograph(folder / f"{i:06d}.png", pixels.clip(-1, 1), 8)


def ours(real: Path, synthetic: Path, reading: Reading) -> dict[str, float]:
    extractor = Extractor("random", build_network(), Transform(256, high=255.0), "random")
    a, b = (extract(read_set(folder), extractor, reading).features for folder in (real, synthetic))
    return {
        "fid": fid(a, b, reading.device),
        "kid": kid(a, b, device=reading.device)[0],
        **prdc(a, b, 5, reading.device),
    }


def theirs(real: Path, synthetic: Path, reading: Reading) -> dict[str, float]:
    found = torch_fidelity.calculate_metrics(
        input1=str(synthetic),
        input2=str(real),
        feature_extractor="random",
        fid=True,
        kid=True,
        kid_subset_size=min(1000, len(list(real.iterdir()))),
        batch_size=reading.batch_size,
        cuda=reading.device == "cuda",
        cache=False,
        verbose=False,
    )
    return {"fid": found["frechet_inception_distance"], "kid": found["kernel_inception_distance_mean"]}


def cpu_seconds() -> float:
    """Of this process and its workers that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    reading = Reading(options.batch_size, options.workers, options.device)
    result: dict[str, object] = {"benchmark": "evaluate", "images": options.images, "workers": options.workers}
    torch_fidelity.register_feature_extractor("random", ForFidelity)
    seconds: dict[str, list[float]] = {"ours": [], "torch_fidelity": []}
    cpu: dict[str, list[float]] = {"ours": [], "torch_fidelity": []}
    with tempfile.TemporaryDirectory() as folder:
        real, synthetic = Path(folder) / "real", Path(folder) / "synthetic"
        write_images(real, options.images // 2, 0, 0.30)
        write_images(synthetic, options.images // 2, 1, 0.33)
        for name, compute in (("ours", ours), ("torch_fidelity", theirs)) * options.rounds:
            start, used = time.perf_counter(), cpu_seconds()
            values = compute(real, synthetic, reading)
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(cpu_seconds() - used)
            result[name] = {key: round(value, 6) for key, value in values.items()}
    for name in seconds:
        result[f"{name}_images_per_s"] = round(options.images / statistics.median(seconds[name]), 1)
        result[f"{name}_cpu_s"] = round(statistics.median(cpu[name]), 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
