"""What the README tells a newcomer to type works: its Python runs, its commands run on a short demo's output."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from radiolucent.cli import dispatch

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
LINES = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
COMMANDS = [line.removeprefix(".venv/bin/") for line in LINES if "radiolucent " in line]


def test_make_targets_and_extras_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = set(re.findall(r"^(\w+) =$", (ROOT / "setup.cfg").read_text(), re.MULTILINE))
    assert {word for line in LINES for word in re.findall(r"^make (\w+)", line)} <= targets
    assert {extra for line in LINES for extra in re.findall(r"\.\[(\w+)\]", line)} <= extras


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_runs(code, sample_radiograph, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "radiograph.png").write_bytes(sample_radiograph.read_bytes())
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command, quick_demo, sample_radiograph, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "radiograph.png").write_bytes(sample_radiograph.read_bytes())
    (tmp_path / "demo_output").symlink_to(quick_demo)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    words = shlex.split(command)[1:]
    short = ["--trainer.fast_dev_run=true"] if words[0] == "fit" else []
    assert dispatch([*words, *short]) == 0


def test_pictures_and_links_lead_somewhere():
    targets = {target.split("#")[0] for target in re.findall(r"\[[^\]]*\]\(([^)]+)\)", README) if "://" not in target}
    assert "docs/demo.png" in targets
    assert not [target for target in targets if not (ROOT / target).exists()]
