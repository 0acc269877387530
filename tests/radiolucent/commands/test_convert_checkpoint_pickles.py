"""Pickles: refused without the flag, and none of their code runs with it."""

from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from radiolucent.cli import dispatch
from radiolucent.convert.source import read_source
from radiolucent.convert.unpickle import load_restricted, read_pickle


class Calls:
    """Pickled as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Hooked(nn.Module):
    """A module whose own class does what it likes when it is unpickled."""

    def __init__(self, target: Path):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("dropped", torch.zeros(2), persistent=False)
        self.target = str(target)
        self.sizes = (4, 5)

    def __setstate__(self, state):
        Path(state["target"]).touch()
        super().__setstate__(state)


def payloads(folder: Path) -> dict[str, Calls]:
    """Calls that each create the file of their name in `folder` when an ordinary unpickler reads them."""
    target = {name: str(folder / name) for name in ("system", "eval", "exec", "process", "indirect", "open")}
    return {
        "system": Calls(os.system, f"touch {target['system']}"),
        "eval": Calls(builtins.eval, f"open({target['eval']!r}, 'w')"),
        "exec": Calls(builtins.exec, f"open({target['exec']!r}, 'w')"),
        "process": Calls(subprocess.check_call, ["touch", target["process"]]),
        "indirect": Calls(torch._tensor._rebuild_from_type_v2, os.system, int, (f"touch {target['indirect']}",), {}),
        "open": Calls(builtins.open, target["open"], "w"),
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_does_not_run(tmp_path, legacy):
    path, folder = tmp_path / "evil.pth", tmp_path / "pwned"
    folder.mkdir()
    evil = payloads(folder)
    torch.save({"weight": torch.ones(2)} | evil, path, _use_new_zipfile_serialization=not legacy)
    words = ["convert-checkpoint", str(path), "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match=r"is refused: it is a pickle.*--allow-pickle"):
        dispatch(words)
    with pytest.raises(ValueError, match=r"kind of these weights is not recognised \(weight, \.\.\.\)"):
        dispatch([*words, "--allow-pickle"])
    assert list(folder.iterdir()) == []
    tensors, _ = load_restricted(path)
    assert torch.equal(tensors["weight"], torch.ones(2))
    assert list(folder.iterdir()) == []
    for call in evil.values():  # they are what they say: an ordinary unpickler runs each
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(call))
    assert {path.name for path in folder.iterdir()} == evil.keys()


def test_classes_of_a_pickled_module_are_stand_ins(tmp_path):
    target = tmp_path / "pwned"
    torch.save(Hooked(target), tmp_path / "module.pth")
    tensors, modules = load_restricted(tmp_path / "module.pth")
    assert not target.exists()
    assert sorted(tensors) == ["kept", "linear.bias", "linear.weight"]
    assert torch.equal(tensors["kept"], torch.arange(3))
    assert modules[""]["class"].endswith(".Hooked") and modules[""]["sizes"] == (4, 5)
    assert modules["linear"]["in_features"] == 2


def test_a_dotted_name_reaches_no_function(tmp_path):
    """Protocol 4 looks names up through attributes: os.system as an attribute of posixpath."""
    target = tmp_path / "pwned"
    command = f"touch {target}".encode()
    program = b"\x80\x04\x8c\x09posixpath\x8c\x09os.system\x93\x8c" + bytes([len(command)]) + command + b"\x85R."
    torch.save({"x": torch.ones(1)}, tmp_path / "base.pth")
    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(tmp_path / "base.pth") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, program if name.endswith("data.pkl") else old.read(name))
    assert load_restricted(path) == ({}, {})
    assert not target.exists()
    pickle.loads(program)  # an ordinary unpickler runs it
    assert target.exists()


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "text.pth").write_text("no pickle")
    with pytest.raises(ValueError, match="is refused"):
        read_source(tmp_path / "text.pth", False, {})
    with pytest.raises(ValueError, match=r"could not be read as a file of torch\.save"):
        read_source(tmp_path / "text.pth", True, {})
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(ValueError, match="TorchScript archive, which holds code"):
        read_source(tmp_path / "script.pt", True, {})


def test_a_module_in_the_current_folder_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("torch.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')")
    torch.save(nn.Linear(2, 2), "module.pth")
    assert sorted(read_pickle(Path("module.pth"))[0]) == ["bias", "weight"]
    assert not (tmp_path / "pwned").exists()
