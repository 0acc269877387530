"""What `radiolucent drr` is to render: one job a volume, what its images depend on, and their files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.batch.runner import file_identity

if TYPE_CHECKING:
    from drr.io.ct_rate import Name

SAMPLE = "sample"

DRR_RATE = {"AP": "drr-rate", "LATERAL": "drr-rate-lateral"}

DETACHED = (".mhd", ".nhdr")  # headers whose voxels lie in a file beside them


@dataclass(frozen=True)
class Job:
    """One volume.

    Attributes:
        path: Its file or folder.
        key: Names it in the manifest.
        name: For CT-RATE.
        row: Its metadata, if any.
        no_chest: Whether CT-RATE lists it as such.
        series: Which of several.
    """

    path: str
    key: str
    name: Name | None = None
    row: dict[str, str] | None = None
    no_chest: bool = False
    series: str | None = None


@dataclass(frozen=True)
class Options:
    """What the images depend on, besides the volume.

    Attributes:
        views: Names of presets.
        size: Side of the pictures in pixels.
        materials: Of total, bone and soft.
        preset: Which room's geometry, see `beam_name`.
        levels: How line integrals become grey levels.
        require_chest: Whether what shows no chest is skipped.
        rescale: (slope, intercept) in place of the headers'.
        series: Of each DICOM folder.
        orbit: Degrees by which each view is turned.
        look: Display, or "".
        physics: Effects of tube and detector.
        seed: Of noise and looks.
    """

    views: list[str]
    size: int
    materials: list[str]
    preset: str
    levels: str
    require_chest: bool
    rescale: tuple[float, float] | None = None
    series: str | None = None
    orbit: tuple[float, ...] = ()
    look: str = ""
    physics: tuple[str, ...] = ()
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        """What the batch's record holds of them.

        What came later is left out if it is not used, so that folders of earlier versions can be resumed.

        Returns:
            {name: JSON value}.
        """
        later = {"orbit": (), "look": "", "physics": (), "seed": 0}
        return {name: value for name, value in asdict(self).items() if later.get(name, ...) != value}


@dataclass(frozen=True)
class Shot:
    """One picture of a body: a view, turned by some degrees about the body's long axis.

    Attributes:
        view: Name of a preset.
        orbit_degrees: Between -360 and 360.
    """

    view: str
    orbit_degrees: float = 0.0

    @property
    def name(self) -> str:
        """Such as PA, PA+30 or PA-15: the folder of its pictures."""
        return f"{self.view}{self.orbit_degrees:+g}" if self.orbit_degrees else self.view


def shots(options: Options) -> list[Shot]:
    """Each view in each of the orbit's angles; without an orbit, as it is.

    Args:
        options: With views and angles.

    Returns:
        All angles of the first view first.
    """
    return [Shot(view, degrees) for view in options.views for degrees in (options.orbit or (0.0,))]


def job_identity(job: Job) -> dict[str, Any]:
    """What a volume's images depend on besides the options: its files, its row of metadata.

    Args:
        job: The volume; a header with its voxels in files beside it counts those too.

    Returns:
        As `file_identity`; the packaged CT has the same on every machine.
    """
    if job.path == SAMPLE:
        return {"path_sha256": "the packaged CT"}
    path = Path(job.path)
    beside = []
    if path.name.endswith(DETACHED):
        beside = sorted(other for other in path.parent.iterdir() if other.name.startswith(f"{path.stem}."))
    files = [file_identity(file) for file in beside]
    return file_identity(path, row=job.row, no_chest=job.no_chest, series=job.series, beside=files)


def image_files(job: Job, options: Options) -> dict[tuple[str, str], str]:
    """{(name of the shot, material): the image's file below the output folder}.

    Args:
        job: The volume; one of CT-RATE has names as in DRR-RATE.
        options: Views, angles and materials.

    Returns:
        Paths with forward slashes, all of them PNG.
    """
    return {
        (view, material): job.name.image_path(view, material) if job.name else f"{view}/{job.key}_{material}.png"
        for view in (shot.name for shot in shots(options))
        for material in options.materials
    }


def find_jobs(inputs: list[str], metadata: list[str], no_chest: list[str], series: str | None = None) -> list[Job]:
    """One job for each volume that the inputs hold; what is left out of folders is printed.

    Args:
        inputs: Files, folders, or `sample`.
        metadata: CT-RATE's tables of metadata.
        no_chest: CT-RATE's lists of volumes without a chest.
        series: Series Number or UID to take of each DICOM folder.

    Returns:
        Jobs, by key.

    Raises:
        FileNotFoundError: An input that does not exist.
        ValueError: Two volumes whose images would have one name, a damaged table.
    """
    from drr.io.ct_rate import merge_metadata, parse_name, read_no_chest, volume_key
    from radiolucent.rendering.find_cts import Found, find_cts

    rows = merge_metadata(metadata)
    without = set().union(*map(read_no_chest, no_chest))
    jobs: dict[str, Job] = {}
    for given in inputs:
        found, left_out = ([Found(SAMPLE, SAMPLE)], "") if given == SAMPLE else find_cts(given)
        if left_out:
            print(left_out)
        for ct in found:
            name = parse_name(ct.path)
            key = volume_key(ct.path) if name else ct.name
            chosen = ct.series or (series if Path(ct.path).is_dir() else None)
            job = Job(ct.path, key, name, rows.get(volume_key(ct.path)), volume_key(ct.path) in without, chosen)
            if jobs.setdefault(key, job) is not job:
                raise ValueError(
                    f"{jobs[key].path} and {ct.path} would both be written as {key}: give each its own --out, or the "
                    "folder that holds both"
                )
    if series is not None and not any(job.series == series for job in jobs.values()):
        raise ValueError(f"--series {series}: none of the inputs is a DICOM folder")
    return list(jobs.values())


def tell_unused(jobs: list[Job], tables: dict[str, Any]) -> None:
    """Print which tables know none of the volumes: most likely those of another split or release.

    Args:
        jobs: All that are to be rendered, at least one.
        tables: {"metadata", "labels", "reports": what was read, empty where none was given}.
    """
    found = {
        "metadata": any(job.row for job in jobs),
        "labels": any(job.key in tables["labels"] for job in jobs),
        "reports": any(job.key in tables["reports"] for job in jobs),
    }
    for name, given in tables.items():
        if given and not found[name]:
            print(f"--{name}: none of the {len(jobs)} volumes stands in it, such as {jobs[0].key}")


def beam_name(view: str, preset: str) -> str:
    """The name of a view's geometry in `ConeBeam.preset`.

    Args:
        view: Of the command.
        preset: That of a radiographic room, or DRR-RATE's.

    Returns:
        The name.

    Raises:
        ValueError: A view that the preset lacks.
    """
    from drr.geometry import VIEWS

    standard = [name for name in VIEWS if not name.startswith("drr-rate")]
    names = DRR_RATE if preset == "drr-rate" else dict(zip(standard, standard))
    if view not in names:
        raise ValueError(f"--view {view}: the {preset} preset has the views {', '.join(names)}")
    return names[view]
