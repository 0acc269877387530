"""The physics of an exposure, each effect against its law."""

from __future__ import annotations

import numpy as np
import pytest

from drr.appearance.physics import Physics, expose, gain, mass_attenuation, spectrum

SHAPE = (64, 96)


def flat(soft: float, bone: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    return np.full(SHAPE, soft, np.float32), np.full(SHAPE, bone, np.float32)


def test_off_by_default():
    rng = np.random.default_rng(0)
    soft, bone = rng.uniform(0, 6, SHAPE), rng.uniform(0, 2, SHAPE)
    total, pair = expose(soft, bone, Physics())
    np.testing.assert_allclose(total, soft + bone, atol=1e-5)
    np.testing.assert_allclose(pair, soft, atol=1e-5)


def test_attenuation_by_material_at_one_energy():
    pytest.importorskip("xraydb", reason="needs the extra 'physics'")
    assert mass_attenuation("H2O", 60) == pytest.approx(0.206, abs=0.001)  # cm^2/g, NIST XCOM 0.2059
    assert gain("H2O", 60.0) == pytest.approx(1, abs=0.002)
    total, pair = expose(*flat(3, 0.5), Physics(energy_kev=50.0))
    np.testing.assert_allclose(total, 3 * gain("H2O", 50.0) + 0.5 * gain("Ca5P3O13H", 50.0), rtol=1e-5)
    np.testing.assert_allclose(pair, 3 * gain("H2O", 50.0), rtol=1e-5)
    # bone gains contrast over water at lower energies
    assert gain("Ca5P3O13H", 40.0) / gain("H2O", 40.0) > 1.5 * gain("Ca5P3O13H", 70.0) / gain("H2O", 70.0)


def test_spectrum_and_beam_hardening():
    pytest.importorskip("spekpy", reason="needs the extra 'physics'")
    energies, weights = spectrum(120.0)
    assert weights.sum() == pytest.approx(1) and energies.max() < 120
    assert 55 < (energies * weights).sum() < 70
    per_unit = [expose(*flat(soft), Physics(kvp=120.0))[0].mean() / soft for soft in (0.5, 2, 6)]
    assert per_unit[0] > per_unit[1] > per_unit[2]  # a hardened beam is weakened less
    thin = sum(w * gain("H2O", e) for e, w in zip(energies, weights))
    assert expose(*flat(1e-2), Physics(kvp=120.0))[0].mean() / 1e-2 == pytest.approx(thin, rel=0.01)


def test_scatter_lowers_contrast():
    plain = expose(*flat(4), Physics())[0]
    foggy, pair = expose(*flat(4), Physics(scatter=1.0))
    np.testing.assert_allclose(foggy, plain - np.log(2), atol=1e-4)
    np.testing.assert_allclose(pair, foggy, atol=1e-5)


def test_noise_is_poisson_and_the_same_in_both_images():
    soft, bone = flat(2, 0.7)
    total, pair = expose(soft, bone, Physics(photons=1e4), np.random.default_rng(1))
    expected = 1 / np.sqrt(1e4 * np.exp(-2.7))
    assert total.std() == pytest.approx(expected, rel=0.03)
    assert total.mean() == pytest.approx(2.7, abs=0.002)
    np.testing.assert_allclose(total - pair, bone, atol=1e-5)
    again = expose(soft, bone, Physics(photons=1e4), np.random.default_rng(1))[0]
    np.testing.assert_array_equal(total, again)


def test_blur_is_a_gaussian_of_the_intensity():
    soft, bone = flat(20)
    soft[32, 48] = 0
    image = np.exp(-expose(soft, bone, Physics(blur_px=1.5))[0])
    assert image.sum() == pytest.approx(1, rel=1e-3)
    assert image[32, 48] == pytest.approx(1 / (2 * np.pi * 1.5**2), rel=0.02)


def test_grid_takes_intensity_at_the_edges():
    total = expose(*flat(1), Physics(grid_falloff=0.5))[0]
    np.testing.assert_allclose(total[:, [0, -1]], 1 - np.log(0.5), atol=1e-5)
    assert total[:, 47:49] == pytest.approx(1, abs=1e-3)
    shifted = expose(*flat(1), Physics(grid_falloff=0.5, grid_shift=0.5))[0]
    assert shifted[0].argmin() == pytest.approx(0.75 * 95, abs=1)


def test_bad_arguments():
    with pytest.raises(ValueError, match="both given"):
        Physics(energy_kev=60, kvp=120)
    with pytest.raises(ValueError, match="from 40 to 150"):
        Physics(kvp=20)
    with pytest.raises(ValueError, match="random generator"):
        expose(*flat(1), Physics(photons=100))
    with pytest.raises(ValueError, match="equal images"):
        expose(flat(1)[0], flat(1)[0][:3], Physics())


@pytest.mark.parametrize("name", ["energy_kev", "kvp"])
def test_whole_numbers_are_as_good(name):
    pytest.importorskip("xraydb" if name == "energy_kev" else "spekpy", reason="needs the extra 'physics'")
    mass_attenuation.cache_clear()
    spectrum.cache_clear()
    gain.cache_clear()
    whole = expose(*flat(3, 0.5), Physics(**{name: 70}))[0]
    np.testing.assert_array_equal(whole, expose(*flat(3, 0.5), Physics(**{name: 70.0}))[0])


@pytest.mark.parametrize(
    "physics", [Physics(), Physics(photons=1000.0), Physics(photons=0.1, blur_px=2, scatter=0.5, grid_falloff=0.9)]
)
@pytest.mark.parametrize("lines", [40.0, 120.0, 1e5])
def test_dense_metal_is_finite(physics, lines):
    for soft, bone in (flat(lines), flat(3, lines)):
        soft[:20], bone[:20] = 0, 0
        for image in expose(soft, bone, physics, np.random.default_rng(0)):
            assert image.dtype == np.float32 and np.isfinite(image).all()
    total, _ = expose(*flat(120), Physics())
    np.testing.assert_allclose(total, 120, rtol=1e-6)


def test_numbers_that_are_not_finite_are_refused():
    for name in ("scatter", "blur_px", "energy_kev", "grid_shift"):
        with pytest.raises(ValueError, match=f"{name} of the exposure is not finite"):
            Physics(**{name: float("nan")})
    with pytest.raises(ValueError, match="not finite"):
        expose(*flat(float("inf")), Physics())
