"""Studies of CTs: which there are, what they are made of, and their files.

A study is one exposure session of one body: its radiographs, and the truth about them. With a prior and a current, a
pair of studies shares a body. Below the output folder:

    images/NAME/STUDY/SHOT.png        the radiographs (and SHOT_soft.png, SHOT_bone.png)
    truth/NAME/STUDY/SHOT.json        findings, boxes, masks, labels and report of a picture (see `truth`)
    difference/NAME/STUDY/SHOT_*.png  current minus prior in the current's frame: line integrals, and pictures
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.batch.runner import Task, file_identity
from radiolucent.rendering.find_cts import stem
from radiolucent.rendering.jobs import SAMPLE, Job, Options, job_identity, shots

if TYPE_CHECKING:
    from drr.findings.plan import Plan

PRIOR, CURRENT = "prior", "current"
DIFFERENCES = ("lines", "picture")
TRUTH = "truth"
INFER = "infer"  # in place of a folder of label maps


@dataclass(frozen=True)
class Ask:
    """What is made of each CT.

    Args:
        plan: Findings, how many studies, bodies and poses.
        two_studies: Whether each study is a prior and a current one.
        structures: Whether each structure's and location's mask and box is written.
    """

    plan: Plan
    two_studies: bool = False
    structures: bool = False

    @property
    def times(self) -> tuple[str, ...]:
        """The studies of one body."""
        return (PRIOR, CURRENT) if self.two_studies else (CURRENT,)

    def settings(self) -> dict[str, Any]:
        """For the batch's record. How many studies there are is none of it: more can be added.

        Returns:
            {name: JSON value}.
        """
        plan = {name: value for name, value in asdict(self.plan).items() if name != "studies"}
        return {"plan": plan, "two_studies": self.two_studies, "structures": self.structures}


@dataclass(frozen=True)
class StudyJob:
    """One study, or pair of studies, of a CT.

    Attributes:
        job: The CT.
        number: Of the study, from 0.
        label_map: Its file; "" where the CT is packaged with one; INFER where lobes and heart are found by density.
    """

    job: Job
    number: int
    label_map: str | None

    @property
    def key(self) -> str:
        """Names it in the manifest."""
        return f"{self.job.key}/s{self.number:04d}"

    @property
    def name(self) -> str:
        """The CT's name as a single folder."""
        return self.job.key.replace("/", "__")

    def study(self, time: str, ask: Ask) -> str:
        """The study's folder.

        Args:
            time: "current" or "prior".
            ask: Whether there are two studies.

        Returns:
            Such as s0003, or s0003_prior.
        """
        return f"s{self.number:04d}_{time}" if ask.two_studies else f"s{self.number:04d}"


def study_files(one: StudyJob, options: Options, ask: Ask) -> dict[tuple[str, ...], str]:
    """{(kind, time, shot, material or part): the file below the output folder}.

    Args:
        one: The study, or pair of studies.
        options: Shots and materials.
        ask: Of the studies.

    Returns:
        Kinds are "image", "truth" and "difference"; the last is there for the current study of a pair alone.
    """
    files: dict[tuple[str, ...], str] = {}
    for time in ask.times:
        place = f"{one.name}/{one.study(time, ask)}"
        for shot in shots(options):
            for material in options.materials:
                tail = "" if material == "total" else f"_{material}"
                files["image", time, shot.name, material] = f"images/{place}/{shot.name}{tail}.png"
            files["truth", time, shot.name, ""] = f"{TRUTH}/{place}/{shot.name}.json"
            for part in DIFFERENCES if time == CURRENT and ask.two_studies else ():
                files["difference", time, shot.name, part] = f"difference/{place}/{shot.name}_{part}.png"
    return files


def study_tasks(jobs: Sequence[Job], options: Options, ask: Ask, label_maps: str | None) -> list[Task]:
    """A task for each study of each CT; one alone for a CT without a label map, which is to be skipped.

    Args:
        jobs: The CTs.
        options: Of the pictures.
        ask: Of the studies.
        label_maps: The folder of the CTs' label maps, or INFER.

    Returns:
        Tasks whose identity holds the CT's files and those of its label map.

    Raises:
        FileNotFoundError: The folder does not exist.
    """
    tasks = []
    for job in jobs:
        label_map = find_label_map(job, label_maps)
        beside = label_map if label_map in (None, "", INFER) else file_identity(label_map)
        identity = {**job_identity(job), "label_map": beside}
        for number in range(ask.plan.studies if label_map is not None else 1):
            one = StudyJob(job, number, label_map)
            files = tuple(study_files(one, options, ask).values())
            tasks.append(Task(one.key, one, files, identity))
    return tasks


def find_label_map(job: Job, folder: str | None) -> str | None:
    """The CT's label map: a volume in the folder with the CT's name, in the same place or directly.

    Args:
        job: The CT.
        folder: As --label-maps has it: a folder, INFER, or None.

    Returns:
        The file; "" for the packaged CT, which has its own; INFER if that was asked for; None if there is none.

    Raises:
        FileNotFoundError: The folder does not exist.
    """
    from drr.io.read import FILES

    if job.path == SAMPLE:
        return ""
    if folder is None or folder == INFER:
        return folder
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"--label-maps {folder}: there is no such folder")
    names = dict.fromkeys((job.key, Path(job.key).name, stem(Path(job.path).name)))
    found = (root / f"{name}{suffix}" for name in names for suffix in FILES)
    return next((str(path) for path in found if path.is_file()), None)


def without_label_map(one: StudyJob) -> ValueError:
    """Why a CT is skipped.

    Args:
        one: The study.

    Returns:
        The error, to be raised by the caller, with the file's name that was looked for.
    """
    return ValueError(
        f"{one.job.path}: no label map, which findings and structures need: give --label-maps FOLDER that holds "
        f"{Path(one.job.key).name}.nii.gz, on the CT's grid, or --label-maps {INFER} for lobes and heart by density"
    )


def study_keys(finished: Mapping[str, Any]) -> list[str]:
    """The keys of finished studies, in order.

    Args:
        finished: {key: record}, as the manifest has them.

    Returns:
        Volumes that were only rendered are not among them.
    """
    return sorted(key for key, record in finished.items() if "truths" in record)
