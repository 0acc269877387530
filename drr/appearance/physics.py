"""What an X-ray tube, a grid and a detector add to line integrals. Every effect is off by default.

The CT gives two materials: water for all that is not bone, and bone mineral (hydroxyapatite) for what bone attenuates
beyond it. Their attenuation comes from xraydb's tables (Elam), spectra from spekpy: pip install radiolucent[physics].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from drr.appearance.look import blur
from drr.projection.attenuation import MU_WATER_PER_MM

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

CT_KEV = 70.0  # effective energy at which HU are measured, 120 kV
BONE_MINERAL = "Ca5P3O13H"
BIN_KEV = 4.0
DARKEST = 1e-300  # transmission; its logarithm is finite


@dataclass(frozen=True)
class Physics:
    """One exposure.

    Attributes:
        energy_kev: Attenuation by material at this effective energy; None leaves the CT's own attenuation.
        kvp: Tube voltage; attenuation by material over its spectrum (with beam hardening), in place of energy_kev.
        filtration_mm: Total filtration of the tube in mm of aluminium.
        scatter: Scattered over primary intensity behind the body, after the grid.
        scatter_sigma: Its width as a fraction of the image's longer side.
        photons: Mean number of quanta in a pixel without a body, for Poisson noise; None for no noise.
        blur_px: Standard deviation in pixels of the detector's blur; it blurs signal and noise.
        grid_falloff: Part of the intensity that a focused grid takes away at both edges of the image (square law).
        grid_shift: Where the grid is aligned, as a fraction of half the image's width to the viewer's right.
    """

    energy_kev: float | None = None
    kvp: float | None = None
    filtration_mm: float = 3.0
    scatter: float = 0.0
    scatter_sigma: float = 0.1
    photons: float | None = None
    blur_px: float = 0.0
    grid_falloff: float = 0.0
    grid_shift: float = 0.0

    def __post_init__(self) -> None:
        wrong = [name for name, value in vars(self).items() if value is not None and not np.isfinite(value)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} of the exposure is not finite: {self}")
        if self.energy_kev is not None and self.kvp is not None:
            raise ValueError("energy_kev and kvp are both given; give one energy or one tube voltage")
        if self.energy_kev is not None and not 10 <= self.energy_kev <= 200:
            raise ValueError(f"energy_kev is {self.energy_kev}; from 10 to 200 keV is possible")
        if self.kvp is not None and not 40 <= self.kvp <= 150:
            raise ValueError(f"kvp is {self.kvp}; from 40 to 150 kV is possible")
        if min(self.scatter, self.blur_px, self.grid_falloff) < 0 or self.grid_falloff >= 1:
            raise ValueError("scatter, blur_px and grid_falloff must not be negative, and grid_falloff is below 1")
        if self.scatter_sigma <= 0 or (self.photons is not None and self.photons <= 0):
            raise ValueError("scatter_sigma and photons must be positive")


def expose(
    soft: Float[np.ndarray, "height width"],
    bone: Float[np.ndarray, "height width"],
    physics: Physics,
    rng: np.random.Generator | None = None,
) -> tuple[Float32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Line integrals of a radiograph and of its soft-tissue image as the detector sees them: -ln(I / I0).

    Scatter, grid and noise are those of the radiograph in both, so that a pair differs by bone alone.

    Args:
        soft: (H, W) line integrals, as `project` gives them.
        bone: (H, W) line integrals.
        physics: The exposure.
        rng: For `photons`.

    Returns:
        (total, soft), float32 (H, W), finite behind whatever metal.

    Raises:
        ValueError: Images of two shapes or not finite, or photons without a generator.
    """
    soft, bone = (np.ascontiguousarray(lines, dtype=np.float32) for lines in (soft, bone))
    if soft.ndim != 2 or soft.shape != bone.shape:
        raise ValueError(f"soft has shape {soft.shape}, bone {bone.shape}; two equal images (H, W) are needed")
    if not (np.isfinite(soft).all() and np.isfinite(bone).all()):
        raise ValueError("soft or bone holds line integrals that are not finite")
    if physics.photons is not None and rng is None:
        raise ValueError("photons are given without a random generator; give rng=np.random.default_rng(seed)")
    primary = _transmission(soft, bone, physics)
    without_bone = _transmission(soft, np.zeros_like(bone), physics)
    scattered = np.zeros_like(primary)
    if physics.scatter:
        scattered = physics.scatter * blur(primary * (soft > 0.1), physics.scatter_sigma * max(soft.shape))
    grid = _grid(soft.shape, physics)
    signal, pair = (primary + scattered) * grid, (without_bone + scattered) * grid
    noise = np.ones_like(signal)
    if physics.photons is not None and rng is not None:
        counts = signal.astype(np.float64) * physics.photons
        noise = np.maximum(rng.poisson(counts), 0.5) / counts
    if physics.blur_px:
        signal, pair, noisy = (blur(image, physics.blur_px) for image in (signal, pair, signal * noise))
        noise = noisy / signal
    return tuple(-np.log(np.maximum(image * noise, DARKEST)).astype(np.float32) for image in (signal, pair))


def _transmission(soft: np.ndarray, bone: np.ndarray, physics: Physics) -> np.ndarray:
    """I / I0 behind water and bone mineral (Beer-Lambert, summed over the spectrum's energy).

    float64 (H, W), never 0: behind a metal plate exp(-L) is below what float32 holds.
    """
    soft, bone = soft.astype(np.float64), bone.astype(np.float64)
    if physics.energy_kev is None and physics.kvp is None:
        return np.maximum(np.exp(-(soft + bone)), DARKEST)
    if physics.kvp is not None:
        energies, weights = spectrum(physics.kvp, physics.filtration_mm)
    else:
        energies, weights = np.array([physics.energy_kev]), np.ones(1)
    total = np.zeros_like(soft)
    for energy, weight in zip(energies, weights):
        total += weight * np.exp(-(soft * gain("H2O", energy) + bone * gain(BONE_MINERAL, energy)))
    return np.maximum(total, DARKEST)


@lru_cache(maxsize=256)
def gain(material: str, energy_kev: float) -> np.float32:
    """By how much a line integral of `project` changes when its material is met at another energy.

    The projector's mu is 0.0206/mm (1 + HU / 1000), whatever the material; for bone mineral HU say
    mu(E_CT) / mu_water(E_CT) of the same mass.

    Args:
        material: Chemical formula of water or of bone mineral.
        energy_kev: Of the beam.

    Returns:
        A factor.
    """
    water_per_mm = mass_attenuation("H2O", CT_KEV if material != "H2O" else energy_kev) / 10
    if material == "H2O":
        return np.float32(water_per_mm / MU_WATER_PER_MM)
    ratio = mass_attenuation(material, energy_kev) / mass_attenuation(material, CT_KEV)
    return np.float32(ratio * water_per_mm / MU_WATER_PER_MM)


@lru_cache(maxsize=1024)
def mass_attenuation(formula: str, energy_kev: float) -> float:
    """Mu / rho of a chemical formula, from xraydb's tables.

    Args:
        formula: Such as H2O.
        energy_kev: Of the beam.

    Returns:
        cm^2/g.

    Raises:
        ImportError: The extra `physics` is not installed.
    """
    try:
        import xraydb
    except ImportError as error:
        raise ImportError("attenuation by material needs xraydb: pip install radiolucent[physics]") from error
    return float(xraydb.material_mu(formula, float(energy_kev) * 1000, density=1.0))  # an int is an error to it


@lru_cache(maxsize=16)
def spectrum(kvp: float, filtration_mm: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum of a tungsten tube, weighted by energy, since a detector integrates energy.

    Args:
        kvp: Tube voltage.
        filtration_mm: Of aluminium.

    Returns:
        Energies in keV, in bins of 4 keV, and weights that sum to 1.

    Raises:
        ImportError: The extra `physics` is not installed.
    """
    try:
        import spekpy
    except ImportError as error:
        raise ImportError("a spectrum needs spekpy: pip install radiolucent[physics]") from error
    energy, fluence = spekpy.Spek(kvp=float(kvp), th=12).filter("Al", filtration_mm).get_spectrum(edges=False)
    weight = energy * fluence
    bins = np.floor(energy / BIN_KEV).astype(int)
    total = np.bincount(bins, weight)
    centre = np.bincount(bins, weight * energy)[total > 0] / total[total > 0]
    used = total[total > 0] / total.sum()
    keep = used > 1e-4
    return centre[keep], used[keep] / used[keep].sum()


def _grid(shape: tuple[int, ...], physics: Physics) -> np.ndarray:
    """(1, W) transmission of a focused grid, 1 where it is aligned."""
    across = np.linspace(-1, 1, shape[1], dtype=np.float32)[None] - np.float32(physics.grid_shift)
    return 1 - np.float32(physics.grid_falloff) * np.minimum(across**2, 1)
