"""A wheel, installed in an empty environment outside of the repository, holds its data and suppresses a radiograph."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from radiographs import read_radiograph

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("radiolucent", "lightning_modules", "evaluation", "vqgan", "diffusion", "drr", "radiographs", "configs")
MODELS = ("radiolucent/model", "radiolucent/diffusion_model", "radiolucent/synthesis_model", "evaluation/views/model")
DATA = ("drr/data", *MODELS, "configs")  # folders whose files are no code


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, so that nothing is built in the repository, nor taken from an old build."""
    pytest.importorskip("build", reason="build is not installed (extra: test)")
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (folder / "source").mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / "source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / "source" / package, ignore=shutil.ignore_patterns("__pycache__"))
    # Without isolation, which would download setuptools: tests run without a network.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist")]
    run(command, folder / "source")
    return next((folder / "dist").glob("*.whl"))


def run(command: list[str], folder: Path) -> None:
    """Run a command in a folder, without the repository on its path; its output if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def test_the_wheel_holds_code_data_and_types(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    wanted |= {ROOT / package / "py.typed" for package in PACKAGES}
    wanted |= {path for folder in DATA for path in (ROOT / folder).rglob("*") if path.is_file()}
    names = {path.relative_to(ROOT).as_posix() for path in wanted if "__pycache__" not in path.parts}
    assert not names - held
    assert not [name for name in held if name.startswith(("tests/", "benchmarks/", "docs/"))]


def test_installed_it_suppresses_a_radiograph(wheel: Path, sample_radiograph: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    python = str(scripts / "python")
    offline = ["--no-deps", "--no-compile", "--no-index", "--quiet", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "--python", python, "install", *offline, str(wheel)], tmp_path)
    place = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", place], capture_output=True, text=True, check=True).stdout.strip())
    # What it depends on comes from the running environment; an editable install of ours there has no effect.
    others = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in others))
    (tmp_path / "radiograph.png").write_bytes(sample_radiograph.read_bytes())
    from_here = f"import radiolucent; assert radiolucent.__file__.startswith({str(packages)!r}), radiolucent.__file__"
    run([python, "-c", from_here], tmp_path)
    command = [str(scripts / "radiolucent"), "suppress", "radiograph.png", "--out", "out", "--size", "256"]
    run(command, tmp_path)
    before, after = (read_radiograph(tmp_path / name).pixels for name in ("radiograph.png", "out/radiograph.png"))
    assert before.shape == after.shape and np.abs(before - after).max() > 0.05
