"""What several test files share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LONGEST = (  # files that begin first where several processes share the tests, so that none of them is waited for
    "test_prompt_agreement.py",  # compiles the ray caster, while the next two do without it
    "test_two_processes.py",
    "test_vqgan_module.py",
    "test_tutorials.py",
    "test_page.py",
    "test_latent_diffusion_module.py",
    "test_synthesize.py",
    "test_synthesis_module.py",
    "test_demo.py",
    "test_runner.py",
    "test_kernel.py",
    "test_adapt.py",
    "test_configs.py",
    "test_without_extras.py",
    "test_synthesis_configs.py",
    "test_drr.py",
    "test_cuda.py",
    "test_convert_checkpoint.py",
    "test_packaged.py",
    "test_drr_gpu.py",
    "test_objectives.py",
    "test_scenes.py",
)
TOGETHER = {  # parts of the paths of files that share what takes a process long to make
    "commands/test_demo.py": "demo",
    "tests/test_readme.py": "demo",
    "radiolucent/app/": "app",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For pytest-xdist: the files that take longest begin first."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For pytest-xdist's --dist loadfile: a file's tests stay in one process, and so do files that are TOGETHER.

    Each process would make a file's fixtures anew. --dist loadgroup would do the same if pytest 9.2 still took the
    names that pytest-xdist 3.8 gives to the items of a group: it spreads each test on its own.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class SharedFixtures(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return next((unit for part, unit in TOGETHER.items() if part in path), path)

    return SharedFixtures(config, log)


@pytest.fixture(scope="session")
def quick_demo(tmp_path_factory) -> Path:
    """`radiolucent demo` with a few steps of training: every stage is real, the models are bad."""
    from radiolucent.cli import dispatch

    if "PYTEST_XDIST_WORKER" in os.environ:  # made by one process of a session: a second one fails here
        (tmp_path_factory.getbasetemp().parent / "quick_demo").mkdir()
    out = tmp_path_factory.mktemp("demo") / "demo_output"
    short = ["--bodies", "3", "--held-out", "1", "--vqgan-epochs", "1", "--diffusion-steps", "3", "--workers", "1"]
    assert dispatch(["demo", "--out", str(out), *short]) == 0
    return out


@pytest.fixture(scope="session")
def write_series() -> Callable[..., Path]:
    """write_series(folder, planes, places, axes, edit): a CT series, one DICOM file a slice, stored as HU + 1024.

    planes: HU (H, W) of each slice; places: Image Position in mm; edit(dataset, slice) changes each before it is saved.
    """
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def write(folder, planes, places, axes=(1, 0, 0, 0, 1, 0), edit=None, number=1):  # type: ignore[no-untyped-def]
        folder.mkdir(parents=True, exist_ok=True)
        series, study = generate_uid(), generate_uid()
        for k, (plane, place) in enumerate(zip(planes, places)):
            data = Dataset()
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
            data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = series, study, "CT"
            data.SeriesNumber, data.InstanceNumber, data.ImageType = number, k + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
            data.ImagePositionPatient, data.PixelSpacing = [round(float(mm), 6) for mm in place], [5, 5]
            data.ImageOrientationPatient = [round(float(cosine), 8) for cosine in axes]
            data.Rows, data.Columns = plane.shape
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
            data.RescaleSlope, data.RescaleIntercept = 1, -1024
            data.add_new("PixelData", "OW", np.rint(plane + 1024).astype("<u2").tobytes())
            if edit:
                edit(data, k)
            data.save_as(folder / f"{number}_{k:04d}.dcm", enforce_file_format=True)
        return folder

    return write


@pytest.fixture(scope="session")
def sample_radiograph(tmp_path_factory) -> Path:
    """A PNG of 128 x 128 pixels: the sample CT seen from behind."""
    from drr import ConeBeam, detector_response, project, sample_ct
    from radiographs import write_radiograph

    volume = sample_ct()
    lines = project(volume, [ConeBeam.preset("PA", volume, (128, 128))], ("total",))
    path = tmp_path_factory.mktemp("sample") / "radiograph.png"
    write_radiograph(path, detector_response(lines[0, 0]).numpy())
    return path
