"""Work in stages: every item is done once, in order, whatever fails where, with a bounded number in memory."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from radiolucent.batch.executors import attempt, run_local
from radiolucent.batch.staged import MOST_THREADS, Staged, run_staged


class Letters:
    """Reads a word, answers with capitals, writes them into a list; refuses as the word says."""

    def __init__(self, batch: int) -> None:
        self.batch, self.written, self.calls = batch, [], []
        self.threads: dict[str, set[int]] = {"read": set(), "answer": set(), "write": set()}
        self.begun = self.ended = self.most = 0

    def __call__(self, payload: str) -> dict[str, Any]:
        return self.write(self.answer([self.read(payload)])[0])

    def read(self, payload: str) -> str:
        self.threads["read"].add(threading.get_ident())
        self.begun += 1
        self.most = max(self.most, self.begun - self.ended)
        if payload == "unreadable":
            raise ValueError("cannot be read")
        return payload

    def answer(self, read: Any) -> list[str]:
        self.threads["answer"].add(threading.get_ident())
        self.calls.append(list(read))
        if "poison" in read:
            raise RuntimeError("no answer")
        return [word.upper() for word in read]

    def write(self, answered: str) -> dict[str, Any]:
        self.threads["write"].add(threading.get_ident())
        self.ended += 1
        if answered == "UNWRITABLE":
            raise OSError
        self.written.append(answered)
        return {"outputs": [answered]}


WORDS = ["a", "unreadable", "b", "poison", "c", "unwritable", "d", "e"]


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_each_item_is_done_and_only_the_guilty_is_blamed(batch):
    work = Letters(batch)
    found = list(run_local(work, [(f"key {word}", word) for word in WORDS], 0))
    assert [key for key, _, _ in found] == [f"key {word}" for word in WORDS]
    reasons = {key.removeprefix("key "): reason for key, record, reason in found if record is None}
    assert reasons == {"unreadable": "cannot be read", "poison": "RuntimeError: no answer", "unwritable": "OSError"}
    assert sorted(work.written) == list("ABCDE")
    assert [record for _, record, _ in found if record] == [{"outputs": [letter]} for letter in "ABCDE"]
    assert max(len(call) for call in work.calls) == min(batch, len(WORDS) - 1)


def test_reading_and_writing_leave_the_thread_that_answers_alone():
    work = Letters(2)
    assert isinstance(work, Staged)
    list(run_staged(work, [(str(i), "x") for i in range(30)], attempt))
    assert work.threads["answer"] == {threading.get_ident()}
    assert not (work.threads["read"] | work.threads["write"]) & work.threads["answer"]


def test_what_is_in_memory_is_bounded():
    work = Letters(2)
    assert len(list(run_staged(work, [(str(i), "x") for i in range(300)], attempt))) == 300
    assert work.most <= 2 * work.batch + 3 * MOST_THREADS


def test_who_stops_early_leaves_nothing_running():
    work, before = Letters(1), threading.active_count()
    results = run_staged(work, [(str(i), "x") for i in range(1000)], attempt)
    next(results)
    results.close()
    assert threading.active_count() == before and work.begun < 100


def test_plain_work_is_not_staged():
    assert not isinstance(lambda payload: {}, Staged)
    assert list(run_local(lambda payload: {"is": payload}, [("k", 1)], 0)) == [("k", {"is": 1}, "")]
