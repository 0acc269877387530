"""What one suppression imports: a start that is quick is one that leaves out what it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

NOT_NEEDED = {
    "accelerate", "albumentations", "diffusers", "drr", "lightning",
    "lightning_modules", "matplotlib", "nibabel", "numba", "pandas", "peft", "pyarrow", "pydicom", "ray", "scipy",
    "SimpleITK", "sympy", "tensorboard", "torchmetrics", "torchvision", "transformers", "vqgan",
}  # fmt: skip
OURS = ("radiolucent", "radiographs", "diffusion")
CODE = """
import json, sys
from radiolucent.cli import dispatch
assert dispatch(["suppress", sys.argv[1], "--out", sys.argv[2]]) == 0
print("modules:" + json.dumps(sorted(sys.modules)))
"""


def test_one_suppression_imports_torch_and_little_else(sample_radiograph, tmp_path):
    command = [sys.executable, "-c", CODE, str(sample_radiograph), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "out" / "radiograph.png").is_file()
    modules = json.loads(done.stdout.partition("modules:")[2])
    packages = Counter(name.split(".")[0] for name in modules)
    assert not packages.keys() & NOT_NEEDED
    assert "torch._dynamo" not in modules  # the compiler, as long as the rest of torch
    assert sum(packages[name] for name in OURS) < 60
    assert packages["evaluation"] < 10  # the view classifier, which looks at the input, and the room's own names
    assert packages.total() - packages["torch"] - packages["torchgen"] - packages["cuda"] < 800
