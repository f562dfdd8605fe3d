"""The judge's seat: loaded once, waited for, given up when stopped."""

import threading

from ddemo.errors import InputError
from ddemo.measures import NO_JUDGE
from ddemo.ui import judge_seat
from ddemo.ui.judge_seat import JudgeSeat


def test_it_is_loaded_once_for_all(monkeypatch):
    asked = []
    monkeypatch.setattr(judge_seat, "load_judge", lambda name: asked.append(name) or "judge")
    seat = JudgeSeat("somewhere")
    assert seat.offered and seat.waiting
    assert [seat.ask(), seat.ask()] == ["judge", "judge"] and asked == ["somewhere"]
    assert not seat.waiting


def test_one_that_cannot_be_loaded_says_why(monkeypatch):
    def load(name):
        raise InputError("The judge is damaged.")

    monkeypatch.setattr(judge_seat, "load_judge", load)
    seat = JudgeSeat("somewhere")
    assert seat.ask() is None and seat.problem == "The judge is damaged." and not seat.waiting


def test_a_stop_does_not_wait_for_it(monkeypatch):
    there = threading.Event()
    monkeypatch.setattr(judge_seat, "load_judge", lambda name: there.wait(30) and "judge")
    seat = JudgeSeat("somewhere")
    assert seat.ask(lambda: True) is None and seat.problem == "The judge was still being loaded."
    there.set()
    assert seat.ask() == "judge"


def test_without_one_nothing_is_loaded(monkeypatch):
    monkeypatch.setattr(judge_seat, "load_judge", lambda name: 1 / 0)
    monkeypatch.setattr(judge_seat.importlib.util, "find_spec", lambda name: None)
    for seat in (JudgeSeat(), JudgeSeat("none")):
        assert not seat.offered and not seat.waiting and seat.ask() is None and seat.problem == NO_JUDGE
