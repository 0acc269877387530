"""Batches: killed at any moment and run again, bad items set aside, lost workers' items done again."""

from __future__ import annotations

import csv
import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from radiolucent.batch import Manifest, run_batch

# The work of these tests is a module on disk, since spawned workers import it by name.
WORK = """
import os, time
from pathlib import Path
from radiolucent.batch import atomic_path, run_batch

def work(payload, out, pause=0.0):
    out = Path(out)
    with open(out / "calls.txt", "a") as file:
        file.write(f"{payload}\\n")
    if payload == "bad":
        raise ValueError("a bad\\ninput")
    if payload == "worse":
        raise RuntimeError("a bug")
    if payload == "deadly" or (payload == "once" and not (out / "once.seen").exists()):
        (out / "once.seen").touch()
        (out / f".part-{payload}").touch()
        os._exit(9)
    if payload.startswith("device"):
        time.sleep(0.5)
        return {"device": os.environ["CUDA_VISIBLE_DEVICES"], "process": os.getpid(), "folder": os.getcwd()}
    with atomic_path(out / f"{payload}.txt") as part:
        part.write_text(f"{payload} begun\\n")
        time.sleep(pause)
        part.write_text(f"{payload} done\\n")
    return {"outputs": [f"{payload}.txt"], "length": len(payload)}
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "batch_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "batch_work", raising=False)
    import batch_work  # type: ignore[import-not-found]

    return functools.partial(batch_work.work, out=str(tmp_path / "out"))


def run(work: Any, tmp_path: Path, names: list[str], **options: Any) -> int:
    (tmp_path / "out").mkdir(exist_ok=True)
    return run_batch(work, [(name, name) for name in names], tmp_path / "out", **{"settings": {"seed": 1}, **options})


def calls(tmp_path: Path) -> list[str]:
    path = tmp_path / "out" / "calls.txt"
    done = path.read_text().split()
    path.unlink()
    return done


def errors(tmp_path: Path) -> dict[str, str]:
    with open(tmp_path / "out" / "errors.csv", newline="") as file:
        return {row["input"]: row["reason"] for row in csv.DictReader(file)}


def test_finished_items_are_skipped_and_lost_outputs_made_again(work: Any, tmp_path: Path) -> None:
    assert run(work, tmp_path, ["a", "b", "c"]) == 0
    assert calls(tmp_path) == ["a", "b", "c"]
    (tmp_path / "out" / "b.txt").unlink()
    assert run(work, tmp_path, ["a", "b", "c", "d"]) == 0
    assert calls(tmp_path) == ["b", "d"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert lines[0] == {"settings": {"seed": 1}}
    assert lines[1] == {"key": "a", "outputs": ["a.txt"], "length": 1}


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_items_are_set_aside_and_tried_again(work: Any, tmp_path: Path, workers: int, capsys: Any) -> None:
    assert run(work, tmp_path, ["a", "bad", "worse", "z"], workers=workers) == 1
    shown = capsys.readouterr().out
    assert "set aside bad: a bad input\n" in shown and "2 of 4 images were set aside" in shown
    assert errors(tmp_path) == {"bad": "a bad input", "worse": "RuntimeError: a bug"}
    assert (tmp_path / "out" / "z.txt").read_text() == "z done\n"
    calls(tmp_path)
    assert run(work, tmp_path, ["a", "bad", "z"], workers=workers) == 1
    assert calls(tmp_path) == ["bad"]
    assert run(work, tmp_path, ["a", "z"]) == 0
    assert not (tmp_path / "out" / "errors.csv").exists()


def test_a_lost_workers_item_is_done_again_and_only_the_guilty_is_blamed(work: Any, tmp_path: Path) -> None:
    names = ["a", "once", "b", "deadly", "c", "d", "e"]
    assert run(work, tmp_path, names, workers=2) == 1
    assert list(errors(tmp_path)) == ["deadly"] and "died" in errors(tmp_path)["deadly"]
    for name in sorted(set(names) - {"deadly"}):
        assert (tmp_path / "out" / f"{name}.txt").read_text() == f"{name} done\n"
    assert not list((tmp_path / "out").glob(".part-*"))  # the dead worker's half-written file


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_batch_resumes_to_the_same_bytes(work: Any, tmp_path: Path, workers: int) -> None:
    names = [f"item{i:02d}" for i in range(12)]
    out, whole = tmp_path / "out", tmp_path / "whole"
    script = tmp_path / "main.py"
    script.write_text(
        "import functools, sys\nfrom batch_work import run_batch, work\n"
        "if __name__ == '__main__':\n"
        f"    run_batch(functools.partial(work, out=sys.argv[1], pause=0.05), [(n, n) for n in {names}], sys.argv[1], "
        f"settings={{'seed': 1}}, workers={workers})\n"
    )
    out.mkdir()
    process = subprocess.Popen([sys.executable, str(script), str(out)], cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while len(list(out.glob("item*.txt"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.3)  # its workers notice
    finished = [json.loads(line)["key"] for line in (out / "manifest.jsonl").read_text().splitlines()[1:]]
    assert 1 <= len(finished) < len(names)
    (out / "manifest.jsonl").open("a").write('{"key": "item1')  # a line that the kill tore
    calls(tmp_path)
    assert run(work, tmp_path, names, workers=workers) == 0
    assert not set(calls(tmp_path)) & set(finished)
    whole.mkdir()
    assert run_batch(functools.partial(work, out=str(whole)), [(n, n) for n in names], whole, settings={"seed": 1}) == 0
    for name in names:
        assert (out / f"{name}.txt").read_bytes() == (whole / f"{name}.txt").read_bytes()
    assert not [path for path in out.iterdir() if path.name.startswith(".part-")]
    ours, theirs = (sorted((folder / "manifest.jsonl").read_text().splitlines()) for folder in (out, whole))
    assert ours == theirs


def test_other_settings_and_a_second_run_are_refused(work: Any, tmp_path: Path) -> None:
    assert run(work, tmp_path, ["a"]) == 0
    with pytest.raises(ValueError, match=r"other options \(seed 1 then, 2 now\)"):
        run(work, tmp_path, ["a"], settings={"seed": 2})
    manifest = Manifest(tmp_path / "out", {"seed": 1})
    with pytest.raises(ValueError, match="another run is writing"):
        run(work, tmp_path, ["a"])
    manifest.close()
    assert run(work, tmp_path, ["a"]) == 0


def test_bad_calls(work: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="such as a"):
        run(work, tmp_path, ["a", "b", "a"])
    with pytest.raises(ValueError, match="local, ray"):
        run(work, tmp_path, ["a"], executor="cloud")
    with pytest.raises(ValueError, match="--workers -1"):
        run(work, tmp_path, ["a"], workers=-1)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_ray_missing_names_the_extra(work: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"radiolucent\[ray\]"):
        run(work, tmp_path, ["a"], executor="ray")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the ray extra")
def test_ray_does_the_same_as_local(work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    names = ["a", "once", "bad", "deadly", "b"]
    assert run(work, tmp_path, names, executor="ray", workers=2) == 1
    assert set(errors(tmp_path)) == {"bad", "deadly"}
    for name in ("a", "once", "b"):
        assert (tmp_path / "out" / f"{name}.txt").read_text() == f"{name} done\n"


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the ray extra")
def test_each_ray_worker_has_a_gpu_of_its_own_and_the_commands_folder(
    work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ray.shutdown()
    ray.init(num_cpus=2, num_gpus=2, log_to_driver=False)  # Ray counts what it is told to
    monkeypatch.chdir(tmp_path)
    try:
        assert run(work, tmp_path, ["device0", "device1", "device2", "device3"], executor="ray", gpus=1) == 0
        lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[1:]]
        devices: dict[int, set[str]] = {}
        for line in lines:
            devices.setdefault(line["process"], set()).add(line["device"])
        assert sorted(map(sorted, devices.values())) == [["0"], ["1"]]
        assert {line["folder"] for line in lines} == {str(tmp_path)}  # where relative paths begin
        with pytest.raises(ValueError, match="each worker needs 3 GPU and the Ray cluster has 2"):
            run(work, tmp_path, ["a"], executor="ray", gpus=3)
    finally:
        ray.shutdown()
