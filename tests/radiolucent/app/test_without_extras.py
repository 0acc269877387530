"""The page in an environment with the extra `app` alone: each tab works, or says in one line what to install."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import json, shutil, sys
from importlib.util import find_spec
from pathlib import Path

assert not any(find_spec(name) for name in ("transformers", "torch_fidelity", "ray", "skimage", "peft"))
root, folder = map(Path, sys.argv[1:])
from radiolucent.app.limits import Limits
from radiolucent.app.server import build, quiet_gradio, services_of
quiet_gradio(root)
services = services_of(root, None, None, "cpu", False, Limits())
page = json.dumps(build(services).app.routes[-1].app.get_blocks().get_config_file(), default=str)
from radiolucent.app.judge_tab import JudgeTab
from radiolucent.app.scene import Shot
from radiolucent.app.suppress_tab import SuppressTab
from radiolucent.app.synthesise_tab import SynthesiseTab

def sent(name):
    path = root / "uploads" / name.replace("/", "-") / "a.png"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(folder / name, path)
    return str(path)

said = {"page": page, "xray": float(services.scenes.sample().lines(Shot(size=128)).max())}
*_, said["suppress"] = SuppressTab(services).sent(sent("radiograph.png"), "auto", 1, "")
*_, said["synthesise"] = SynthesiseTab(services).draw("No pleural effusion.", "PA", 0, 1, 1, "", "")
given = [[sent("radiograph.png")], [sent("truth.png")], True, ""]
*_, said["judge"] = JudgeTab(services).judge(*given)
print("said:" + json.dumps(said))
"""


def needed(names: set[str]) -> set[str]:
    """The distributions of these names, and those that they need in turn."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            try:
                requirements = [Requirement(text) for text in metadata.requires(name) or ()]
            except metadata.PackageNotFoundError:
                continue
            met = (r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""}))
            waiting += [canonicalize_name(r.name) for r in met]
    return found


def environment(folder: Path) -> Path:
    """What is installed here, but for the packages of all extras other than `app`: a folder of links."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    extras = dict(setup["options.extras_require"])
    kept, dropped = (
        {canonicalize_name(name) for name in re.findall(r"(?m)^([\w-]+)", text)}
        for text in (
            setup["options"]["install_requires"] + extras.pop("app"),
            "\n".join(text for name, text in extras.items() if name != "test"),
        )
    )
    away = set()
    for name in dropped - needed(kept):
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            continue
        away |= {file.parts[0] for file in files} - {"..", "nvidia", "__pycache__"}
    assert "transformers" in away and "gradio" not in away
    for place in map(Path, (p for p in sys.path if Path(p).name == "site-packages")):
        for entry in place.iterdir():
            if entry.name not in away and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


def test_each_tab_works_or_says_what_to_install(sample_radiograph: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed (extra: app)")
    pytest.importorskip("transformers", reason="transformers is not installed (extra: synthesis), so nothing is hidden")
    for name in ("root", "site"):
        (tmp_path / name).mkdir()
    levels = np.array(Image.open(sample_radiograph).resize((256, 256), Image.Resampling.NEAREST))
    Image.fromarray(levels).save(tmp_path / "radiograph.png")
    Image.fromarray(np.maximum(levels, 3000) - np.uint16(3000)).save(tmp_path / "truth.png")
    paths = os.pathsep.join([str(ROOT), str(environment(tmp_path / "site"))])
    command = [sys.executable, "-S", "-c", CODE, str(tmp_path / "root"), str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.partition("said:")[2])
    assert said["xray"] > 1
    assert "suppress-view" in said["suppress"][1], said["suppress"]
    assert "rl-report" in said["judge"][1], said["judge"]
    for extra, what in (("dicom", "JPEG 2000"), ("synthesis", "read text")):
        assert f"pip install &#x27;radiolucent[{extra}]&#x27;" in said["page"] and what in said["page"]
    about, drawn = said["synthesise"][:2]
    assert "rl-picture" in drawn or "radiolucent[synthesis]" in about, said["synthesise"]
