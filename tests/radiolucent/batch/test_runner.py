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

from radiolucent.batch.runner import Manifest, Task, file_identity, run_batch

# The work of these tests is a module on disk, since spawned workers import it by name.
WORK = """
import os, time
from pathlib import Path
from radiolucent.batch.runner import atomic_path, run_batch

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
        (out / f".part-0123456789ab-{payload}.txt").touch()
        os._exit(9)
    if payload.startswith("threads"):
        return {"threads": os.environ["NUMBA_NUM_THREADS"]}
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
    return run_batch(work, tasks(names), tmp_path / "out", **{"settings": {"seed": 1}, **options})


def tasks(names: list[str]) -> list[Task]:
    return [Task(name, name, (f"{name}.txt",)) for name in names]


def records(out: Path) -> list[dict[str, Any]]:
    """The lines of finished items."""
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return [line for line in lines if "key" in line]


def calls(tmp_path: Path) -> list[str]:
    path = tmp_path / "out" / "calls.txt"
    done = path.read_text().split()
    path.unlink()
    return done


def errors(tmp_path: Path) -> dict[str, str]:
    with open(tmp_path / "out" / "errors.csv", newline="") as file:
        return {row["input"]: row["reason"] for row in csv.DictReader(file)}


def test_workers_share_the_cores_and_this_processes_environment_stays(
    work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numba would refuse to compile here after its threads began with another number of them."""
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    assert run(work, tmp_path, ["threads1", "threads2"], workers=2) == 0
    assert dict(os.environ) == before
    shared = str(max(1, (os.cpu_count() or 1) // 2))
    assert {record["threads"] for record in records(tmp_path / "out")} == {shared}


def test_finished_items_are_skipped_and_lost_outputs_made_again(work: Any, tmp_path: Path) -> None:
    assert run(work, tmp_path, ["a", "b", "c"]) == 0
    assert calls(tmp_path) == ["a", "b", "c"]
    (tmp_path / "out" / "b.txt").unlink()
    assert run(work, tmp_path, ["a", "b", "c", "d"]) == 0
    assert calls(tmp_path) == ["b", "d"]
    first = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0])
    assert first == {"settings": {"seed": 1}, "format": 2}
    assert records(tmp_path / "out")[0] == {"key": "a", "outputs": ["a.txt"], "length": 1}


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_items_are_skipped_and_tried_again(work: Any, tmp_path: Path, workers: int, capsys: Any) -> None:
    assert run(work, tmp_path, ["a", "bad", "worse", "z"], workers=workers) == 1
    shown = capsys.readouterr().out
    assert "skipped bad: a bad input\n" in shown and "2 of 4 images were skipped" in shown
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
        "import functools, sys\nfrom batch_work import run_batch, work\nfrom radiolucent.batch.runner import Task\n"
        "if __name__ == '__main__':\n"
        f"    tasks = [Task(n, n, (n + '.txt',)) for n in {names}]\n"
        "    run_batch(functools.partial(work, out=sys.argv[1], pause=0.05), tasks, sys.argv[1], "
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
    finished = [record["key"] for record in records(out)]
    assert 1 <= len(finished) < len(names)
    (out / "manifest.jsonl").open("a").write('{"key": "item1')  # a line that the kill tore
    calls(tmp_path)
    assert run(work, tmp_path, names, workers=workers) == 0
    assert not set(calls(tmp_path)) & set(finished)
    whole.mkdir()
    assert run_batch(functools.partial(work, out=str(whole)), tasks(names), whole, settings={"seed": 1}) == 0
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


def test_a_folder_in_which_nothing_was_finished_takes_other_settings(work: Any, tmp_path: Path) -> None:
    assert run(work, tmp_path, ["bad"]) == 1  # leaves errors.csv
    assert run(work, tmp_path, ["a"], settings={"seed": 2}) == 0
    first, claims, *rest = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    assert json.loads(first)["settings"] == {"seed": 2} and len(rest) == 1
    assert {"errors.csv", "bad.txt", "a.txt"} == set(json.loads(claims)["claims"])
    with pytest.raises(ValueError, match="other options"):
        run(work, tmp_path, ["a"], settings={"seed": 1})


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
        lines = records(tmp_path / "out")
        devices: dict[int, set[str]] = {}
        for line in lines:
            devices.setdefault(line["process"], set()).add(line["device"])
        assert sorted(map(sorted, devices.values())) == [["0"], ["1"]]
        assert {line["folder"] for line in lines} == {str(tmp_path)}  # where relative paths begin
        with pytest.raises(ValueError, match="each worker needs 3 GPU and the Ray cluster has 2"):
            run(work, tmp_path, ["a"], executor="ray", gpus=3)
    finally:
        ray.shutdown()


def copy_task(path: Path, *outputs: str, key: str = "") -> Task:
    """Of the work below: its outputs' names and the file whose text they get."""
    return Task(key or outputs[0], [str(path), *outputs], outputs, file_identity(path), shown=str(path))


def copy(payload: list[str], out: Path) -> dict[str, Any]:
    source, *outputs = payload
    for name in outputs:
        (out / name).write_text(Path(source).read_text())
    return {"outputs": outputs}


def run_copies(out: Path, *batch: Task) -> int:
    return run_batch(functools.partial(copy, out=out), list(batch), out, settings={})


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """x of folder a, x of folder b, and y: {a, b, y}; and the folder out."""
    found = {name: tmp_path / name / "x.txt" for name in "aby"} | {"out": tmp_path / "out"}
    for name in "aby":
        found[name].parent.mkdir()
        found[name].write_text(name)
    return found


def test_finished_means_this_input_in_this_state(files: dict[str, Path], capsys: Any) -> None:
    out = files["out"]
    assert run_copies(out, copy_task(files["a"], "x")) == 0
    (out / "x").write_text("kept")
    assert run_copies(out, copy_task(files["a"], "x")) == 0
    assert (out / "x").read_text() == "kept"  # not done again
    os.utime(files["a"], ns=(0, 0))
    assert run_copies(out, copy_task(files["a"], "x")) == 0
    assert (out / "x").read_text() == "a"
    assert "1 images have changed since and are done again, such as" in capsys.readouterr().out
    files["a"].write_text("longer")
    os.utime(files["a"], ns=(0, 0))
    assert run_copies(out, copy_task(files["a"], "x")) == 0
    assert (out / "x").read_text() == "longer"


def test_what_was_given_once_need_not_be_given_again(files: dict[str, Path]) -> None:
    out, path = files["out"], files["a"]
    for row, expected in (({"slope": 1}, "a"), (None, "kept"), ({"slope": 1}, "kept"), ({"slope": 2}, "a")):
        task = Task("x", [str(path), "x"], ("x",), file_identity(path, row=row))
        assert run_copies(out, task) == 0 and (out / "x").read_text() == expected, row
        (out / "x").write_text("kept")


def test_the_same_name_from_another_folder_is_refused_until_its_result_is_gone(files: dict[str, Path]) -> None:
    out = files["out"]
    assert run_copies(out, copy_task(files["a"], "x")) == 0
    before = (out / "manifest.jsonl").read_bytes()
    with pytest.raises(
        ValueError, match="x is there and is the result of another file of that name: choose another --out"
    ):
        run_copies(out, copy_task(files["b"], "x"), copy_task(files["y"], "y"))
    assert (out / "x").read_text() == "a" and not (out / "y").exists()
    assert (out / "manifest.jsonl").read_bytes() == before
    (out / "x").unlink()
    assert run_copies(out, copy_task(files["b"], "x")) == 0
    assert (out / "x").read_text() == "b"
    with pytest.raises(ValueError, match="the result of another file"):
        run_copies(out, copy_task(files["a"], "x"))


def test_a_link_to_the_same_file_is_the_same_input(files: dict[str, Path], tmp_path: Path) -> None:
    assert run_copies(files["out"], copy_task(files["a"], "x")) == 0
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert run_copies(files["out"], copy_task(tmp_path / "link" / "x.txt", "x")) == 0


def test_files_of_two_items_never_meet(files: dict[str, Path]) -> None:
    out = files["out"]
    with pytest.raises(ValueError, match="x_std would be written for x and for x_std"):
        run_copies(out, copy_task(files["a"], "x", "x_std"), copy_task(files["b"], "x_std"))
    assert not (out / "x").exists()
    assert run_copies(out, copy_task(files["a"], "x", "x_std")) == 0
    with pytest.raises(ValueError, match="x_std is there and is the result of x:"):
        run_copies(out, copy_task(files["b"], "x_std"))
    (out / "x_std").unlink()  # made room for, it is the other's from now on
    assert run_copies(out, copy_task(files["b"], "x_std")) == 0
    with pytest.raises(ValueError, match="x_std is there and is the result of x_std:"):
        run_copies(out, copy_task(files["a"], "x", "x_std"))


def test_a_folders_files_count(tmp_path: Path) -> None:
    (tmp_path / "series/deep").mkdir(parents=True)
    (tmp_path / "series/deep/1").write_text("1")
    first = file_identity(tmp_path / "series")
    assert first == file_identity(tmp_path / "series") and str(tmp_path) not in json.dumps(first)
    assert file_identity(tmp_path, row={"slope": "1"}) != file_identity(tmp_path, row={"slope": "2"})
    os.utime(tmp_path / "series/deep/1", ns=(0, 0))
    assert first != (second := file_identity(tmp_path / "series"))
    (tmp_path / "series/2").write_text("2")
    assert second != file_identity(tmp_path / "series")
    assert file_identity(tmp_path / "gone").keys() == {"path_sha256"}


@pytest.mark.parametrize(
    "content", ['{\n "samples": [1, 2, 3]\n}\n', "[1, 2]\n", '{"settings": 3}\n', "text", '{"samples": 1}', "\0" * 99]
)
def test_another_programs_manifest_is_left_alone(work: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.jsonl").write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.jsonl is no manifest of this program"):
        run(work, tmp_path, ["a"])
    assert (tmp_path / "out/manifest.jsonl").read_text() == content


def test_another_programs_files_are_left_alone(work: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in (".part-of-mine.txt", ".part-0123456789ab-theirs.txt", "errors.csv", "a.txt", "table.csv"):
        (out / name).write_text("theirs")
    for path, options in (
        (out / "errors.csv", {}),
        (out / "a.txt", {}),
        (out / "table.csv", {"tables": ["table.csv"]}),
    ):
        with pytest.raises(ValueError, match=f"{path.name} is there and is no result of this batch"):
            run(work, tmp_path, ["a"], **options)
        assert path.read_text() == "theirs"
        path.unlink()
    assert run(work, tmp_path, ["a"], tables=["table.csv"]) == 0
    (out / "table.csv").write_text("ours now")
    assert run(work, tmp_path, ["a", "b"], tables=["table.csv"]) == 0
    assert all((out / name).read_text() == "theirs" for name in (".part-of-mine.txt", ".part-0123456789ab-theirs.txt"))


@pytest.mark.parametrize("there", ["", "theirs.txt", "item1.txt"])
def test_what_is_refused_leaves_nothing(files: dict[str, Path], tmp_path: Path, there: str) -> None:
    """Neither a manifest nor, where it made it, the folder."""
    out = tmp_path / "new" / "out"
    if there:
        out.mkdir(parents=True)
        (out / there).write_text("theirs")
    path = next(iter(files.values()))
    batch = [copy_task(path, "item1.txt", key="a"), copy_task(path, "item1.txt", key="b")]
    with pytest.raises(ValueError, match="nothing was done"):
        run_copies(out, *batch)
    assert [one.name for one in out.iterdir()] == [there] if there else not out.parent.exists()


def test_a_manifest_damaged_in_its_middle_loses_nothing(work: Any, tmp_path: Path) -> None:
    assert run(work, tmp_path, ["a", "b"]) == 0
    path = tmp_path / "out/manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    broken = b"".join([*lines[:2], lines[2][:5] + b"\n", *lines[3:]])
    path.write_bytes(broken)
    with pytest.raises(ValueError, match=r"manifest\.jsonl line 3 is damaged"):
        run(work, tmp_path, ["a", "b"])
    assert path.read_bytes() == broken
    path.write_bytes(lines[0].replace(b', "format": 2', b"") + b"".join(lines[1:]))
    with pytest.raises(ValueError, match="another version of Radiolucent"):
        run(work, tmp_path, ["a", "b"])
    path.write_bytes(lines[0][:20])  # torn in its first line
    for name in "ab":
        (tmp_path / "out" / f"{name}.txt").unlink()
    assert run(work, tmp_path, ["a", "b"]) == 0


def test_a_name_that_is_no_utf_8_is_one_of_many(files: dict[str, Path], tmp_path: Path) -> None:
    name = os.fsdecode(b"b\xe4d.txt")
    (tmp_path / "a" / name).write_text("odd")
    batch = [
        copy_task(tmp_path / "a" / name, name),
        copy_task(tmp_path / f"gone{name}", "gone"),
        copy_task(files["b"], "x"),
    ]
    assert run_copies(files["out"], *batch) == 1
    assert (files["out"] / name).read_text() == "odd" and (files["out"] / "x").read_text() == "b"
    assert list(errors(tmp_path)) == [f"{tmp_path}/goneb\\udce4d.txt"]
    assert run_copies(files["out"], *batch[::2]) == 0
    assert len(records(files["out"])) == 2  # not done again
