"""Other bodies from one CT: a smooth random deformation."""

from __future__ import annotations

import numba
import numpy as np

from drr.volume import Volume, require_array


def deform(
    volume: Volume, seed: int, amplitude_mm: float = 7.0, lattice_mm: float = 80.0, scale: float = 0.08
) -> Volume:
    """Bend a CT smoothly, its labels and bone map with it, and make it broader, deeper or taller.

    A cubic B-spline lattice of random displacements. They are held below 0.4 lattice spacings along each axis, where
    the deformation cannot fold (Choi and Lee, 2000).

    Args:
        volume: The CT.
        seed: The same seed gives the same body.
        amplitude_mm: Standard deviation of the control points' displacement along each axis.
        lattice_mm: Distance of the control points.
        scale: Each axis is stretched about the centre by a factor drawn from [1 - scale, 1 + scale]; this changes the
            affine, not the voxels.

    Returns:
        A new volume on a grid of the same shape.

    Raises:
        ValueError: A lattice that is not positive, a negative amplitude, a scale outside [0, 1), or HU that are no
            numpy array.

    Reference:
        Rueckert et al., IEEE Trans. Med. Imaging 18, 1999, eq. 1 to 3.
    """
    require_array(volume, "deform")
    if lattice_mm <= 0 or amplitude_mm < 0 or not 0 <= scale < 1:
        raise ValueError(
            f"lattice_mm {lattice_mm}, amplitude_mm {amplitude_mm}, scale {scale}: "
            "needed are lattice_mm > 0, amplitude_mm >= 0, 0 <= scale < 1"
        )
    rng = np.random.default_rng(seed)
    shape, spacing = volume.hu.shape, volume.spacing[::-1]
    bases = [_bspline_basis(n, step / lattice_mm) for n, step in zip(shape, spacing)]
    lattice = rng.normal(0, amplitude_mm, (*(basis.shape[1] for basis in bases), 3))
    lattice = np.clip(lattice, -0.4 * lattice_mm, 0.4 * lattice_mm) / spacing  # voxels along z, y, x
    none = np.zeros((0, 0, 0), np.uint8)
    hu, labels, bone = _warp(
        np.ascontiguousarray(volume.hu),
        none if volume.labels is None else volume.labels,
        none if volume.bone is None else volume.bone,
        bases[0],
        bases[1],
        bases[2],
        lattice,
    )
    return volume.replace(
        hu=hu,
        affine=_stretch(volume, rng.uniform(1 - scale, 1 + scale, 3)),
        labels=None if volume.labels is None else labels,
        bone=None if volume.bone is None else bone,
    )


def _stretch(volume: Volume, factors: np.ndarray) -> np.ndarray:
    """The affine with index axes (x, y, z) stretched about the volume's centre."""
    affine = volume.affine.copy()
    middle = (np.array(volume.hu.shape[::-1]) - 1) / 2
    affine[:3, :3] *= factors
    affine[:3, 3] += (volume.affine[:3, :3] - affine[:3, :3]) @ middle
    return affine


def _bspline_basis(count: int, step: float) -> np.ndarray:
    """(count, control points): the uniform cubic B-spline's weights at 0, step, 2 step, ... lattice spacings."""
    place = np.arange(count) * step
    cell, t = np.floor(place).astype(int), place % 1
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    basis = np.zeros((count, cell[-1] + 4))
    for k in range(4):
        basis[np.arange(count), cell + k] = weights[:, k]
    return basis


@numba.njit(cache=True, nogil=True)
def _warp(hu, labels, bone, basis_z, basis_y, basis_x, lattice):  # type: ignore[no-untyped-def]
    """Pull every voxel from index + displacement: HU linearly, labels from the nearest voxel.

    Beyond the border stands the border. Bone comes from the nearest voxel, but every voxel that HU from bone's rim
    flows into is rim at least.
    """
    depth, height, width = hu.shape
    out = np.empty_like(hu)
    out_labels, out_bone = np.empty_like(labels), np.empty_like(bone)
    sheet = np.empty(lattice.shape[1:])
    line = np.empty(lattice.shape[2:])
    for z in range(depth):
        sheet[:] = 0
        for a in range(lattice.shape[0]):
            if basis_z[z, a] > 0:
                sheet += basis_z[z, a] * lattice[a]
        for y in range(height):
            line[:] = 0
            for b in range(lattice.shape[1]):
                if basis_y[y, b] > 0:
                    line += basis_y[y, b] * sheet[b]
            for x in range(width):
                pz, py, px = float(z), float(y), float(x)
                for c in range(lattice.shape[2]):
                    weight = basis_x[x, c]
                    pz += weight * line[c, 0]
                    py += weight * line[c, 1]
                    px += weight * line[c, 2]
                pz = min(max(pz, 0.0), depth - 1.0)
                py = min(max(py, 0.0), height - 1.0)
                px = min(max(px, 0.0), width - 1.0)
                z0, y0, x0 = int(pz), int(py), int(px)
                fz, fy, fx = pz - z0, py - y0, px - x0
                # the farther corner counts only where it has a weight; so a border needs no special case
                z1, y1, x1 = z0 + (fz > 0), y0 + (fy > 0), x0 + (fx > 0)
                upper = (hu[z0, y0, x0] * (1 - fx) + hu[z0, y0, x1] * fx) * (1 - fy) + (
                    hu[z0, y1, x0] * (1 - fx) + hu[z0, y1, x1] * fx
                ) * fy
                lower = (hu[z1, y0, x0] * (1 - fx) + hu[z1, y0, x1] * fx) * (1 - fy) + (
                    hu[z1, y1, x0] * (1 - fx) + hu[z1, y1, x1] * fx
                ) * fy
                out[z, y, x] = round(upper * (1 - fz) + lower * fz)
                nz, ny, nx = z0 + (fz > 0.5), y0 + (fy > 0.5), x0 + (fx > 0.5)
                if labels.size:
                    out_labels[z, y, x] = labels[nz, ny, nx]
                if bone.size:
                    code = bone[nz, ny, nx]
                    if code == 0:
                        code = max(
                            max(bone[z0, y0, x0], bone[z0, y0, x1], bone[z0, y1, x0], bone[z0, y1, x1]),
                            max(bone[z1, y0, x0], bone[z1, y0, x1], bone[z1, y1, x0], bone[z1, y1, x1]),
                        )
                        code = min(code, 1)
                    out_bone[z, y, x] = code
    return out, out_labels, out_bone
