"""Pickles: refused without the flag, and none of their code runs with it."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from radiolucent.cli import dispatch
from radiolucent.foreign.source import read_source
from radiolucent.foreign.unpickle import read_pickle


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


def payloads(target: Path) -> list[object]:
    """Objects that create `target` when an ordinary unpickler reads them."""
    return [
        Calls(os.system, f"touch {target}"),
        Calls(builtins.eval, f"open({str(target)!r}, 'w')"),
        Calls(builtins.exec, f"open({str(target)!r}, 'w')"),
        Calls(subprocess.check_call, ["touch", str(target)]),
        Calls(builtins.getattr(torch._tensor, "_rebuild_from_type_v2"), os.system, int, (f"touch {target}",), {}),
        Calls(builtins.open, str(target), "w"),
    ]


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_does_not_run(tmp_path, number, legacy):
    target = tmp_path / "pwned"
    path = tmp_path / "evil.pth"
    state = {"weight": torch.ones(2), "evil": payloads(target)[number]}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"is refused: it is a pickle.*--allow-pickle"):
        read_source(path, False, {})
    assert not target.exists()
    tensors, _ = read_pickle(path)
    assert not target.exists()
    assert torch.equal(tensors["weight"], torch.ones(2))
    with pytest.raises(ValueError, match="kind of these weights is not recognised"):
        dispatch(["convert-checkpoint", str(path), "--allow-pickle", "--out", str(tmp_path / "out")])
    assert not target.exists()
    if not legacy:  # the payload is one: an ordinary reader runs it
        try:
            torch.load(path, weights_only=False)
        except Exception:
            pass
        assert target.exists()


def test_classes_of_a_pickled_module_are_stand_ins(tmp_path):
    target = tmp_path / "pwned"
    torch.save(Hooked(target), tmp_path / "module.pth")
    tensors, modules = read_pickle(tmp_path / "module.pth")
    assert not target.exists()
    assert sorted(tensors) == ["kept", "linear.bias", "linear.weight"]
    assert torch.equal(tensors["kept"], torch.arange(3))
    assert modules[""]["class"].endswith(".Hooked") and modules[""]["sizes"] == [4, 5]
    assert modules["linear"]["in_features"] == 2


def test_opcodes_cannot_reach_beyond_the_stand_ins(tmp_path):
    """A dotted name, and state set on a class: what an ordinary pickle's own opcodes can ask for."""
    target = tmp_path / "pwned"
    dotted = b"\x80\x04\x8c\x02os\x8c\x0bpath.os.sys\x93\x8c\x04exit\x85R."
    class_state = b"\x80\x02cos\nsystem\n}X\x01\x00\x00\x00aK\x01sb."
    for number, program in enumerate((dotted, class_state)):
        import zipfile

        torch.save({"x": torch.ones(1)}, tmp_path / "base.pth")
        path = tmp_path / f"{number}.pth"
        with zipfile.ZipFile(tmp_path / "base.pth") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
            for name in old.namelist():
                new.writestr(name, program if name.endswith("data.pkl") else old.read(name))
        with pytest.raises(ValueError):
            read_pickle(path)
    assert not target.exists()


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "text.pth").write_text("no pickle")
    with pytest.raises(ValueError, match="is refused"):
        read_source(tmp_path / "text.pth", False, {})
    with pytest.raises(ValueError, match="could not be read as a file of torch.save"):
        read_source(tmp_path / "text.pth", True, {})
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(ValueError, match="TorchScript archive, which holds code"):
        read_source(tmp_path / "script.pt", True, {})
    with open(tmp_path / "plain.pkl", "wb") as file:
        pickle.dump({"a": 1}, file)
    with pytest.raises(ValueError, match="could not be read"):
        read_source(tmp_path / "plain.pkl", True, {})


def test_a_module_in_the_current_folder_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("torch.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')")
    torch.save(nn.Linear(2, 2), "module.pth")
    assert sorted(read_pickle(Path("module.pth"))[0]) == ["bias", "weight"]
    assert not (tmp_path / "pwned").exists()
