"""What waits for weights can be stopped while it waits, on every tab, and the weights still come."""

import json
import threading

import gradio as gr
import pytest

from ddemo import runs
from ddemo.errors import InputError
from ddemo.sampling import SamplerConfig
from ddemo.ui import resident as resident_module
from ddemo.ui.lab import VIEWS
from ddemo.ui.resident import Resident, StoppedWaiting
from ddemo.ui.second_look import Looks, halt
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import SentMessages, Visit
from tests.ui.conftest import Page
from tests.ui.test_compare import ComparePage, Seen

WORKING = [view for view in VIEWS.values() if view.work]


@pytest.fixture
def door(monkeypatch):
    """Closed: every load waits for it."""
    opened, real = threading.Event(), resident_module.load_checkpoint
    monkeypatch.setattr(resident_module, "load_checkpoint", lambda *a: opened.wait(60) and real(*a))
    yield opened
    opened.set()


@pytest.mark.parametrize("view", WORKING, ids=lambda view: view.name)
def test_stop_is_heard_while_the_weights_are_on_their_way(view, door, tiny_directory):
    resident, pressed = Resident(str(tiny_directory), "cpu"), threading.Event()
    values = {setting.name: setting.default for setting in view.settings} | {"last": "fire"}
    timer = threading.Timer(0.2, pressed.set)
    timer.start()
    with pytest.raises(StoppedWaiting, match=f"^Stopped before {resident.id} was asked anything\\.$"):
        list(view.work.carry_out(values, resident, pressed.is_set))
    assert pressed.is_set() and resident.loading  # for others who wait for it
    door.set()
    resident.await_weights(lambda: False)
    assert resident.loaded


def test_stop_is_heard_on_denoise(door, tiny_directory):
    page = Page(Resident(str(tiny_directory), "cpu"))
    updates = page.start("The old [MASK:2]")
    seen = [next(updates), next(updates)]
    assert "the run begins as soon as it is there" in seen[1]["notice"]
    page.visit.denoising.stop()
    shown = page.watch(iter([*seen, *updates]))
    assert shown.run is None and shown.is_idle and page.resident.loading
    assert shown.notices[-1] == {"text": "Stopped before tiny-mdm was asked anything.", "kind": "note"}
    door.set()
    assert page.denoise("The old [MASK:2]").run.end["state"] == "finished"


def test_a_run_that_begins_ends_the_one_that_waits(door, tiny_directory):
    """Whoever goes on from a step meanwhile is at that: the first press neither revives nor hides Stop."""
    page = Page(Resident(str(tiny_directory), "cpu"))
    waiting = page.start("The old [MASK:2]")
    seen = [next(waiting), next(waiting)]
    assert json.loads(seen[1]["canvas"])["k"] == "wait", "nothing on the canvas can be edited"
    second = page.start("The [MASK:3]")
    later = [next(second), next(second)]
    assert list(waiting) == []
    door.set()
    shown = page.watch(iter([*later, *second]))
    assert shown.run.end["state"] == "finished" and shown.is_idle


def test_stop_is_heard_by_a_second_look(door, tiny_directory, page):
    resident = Resident(str(tiny_directory), "cpu")
    visit = Visit()
    visit.remember(
        "run", runs.begin(page.resident.get(), "The old [MASK:2]", 0, SamplerConfig("confidence", steps=2))
    )
    looks = Looks(Shelf([resident]), SentMessages(), "canvas", "view")
    updates = looks.look(visit, gr.EventData(None, {"what": "exact", "run": "run", "n": 1}))
    assert json.loads(next(updates)["view"])["state"] == "waiting"
    halt(visit)
    told = [json.loads(update["view"]) for update in updates]
    assert [(each["state"], each["say"]) for each in told] == [
        ("done", "Stopped before tiny-mdm was asked anything.")
    ]


def test_stop_is_heard_on_compare(door, tiny_directory):
    page = ComparePage(Resident(str(tiny_directory), "cpu"))
    updates = page.start()
    seen = [next(updates), next(updates)]
    assert "the lanes begin as soon as it is there" in seen[1]["notice"]
    page.bout.comparing.stop()
    shown = Seen([*seen, *updates])
    assert shown.is_idle and not shown.messages
    assert shown.notice == {"text": "Stopped before tiny-mdm was asked anything.", "kind": "note"}
    door.set()
    assert page.compare().messages[-1]["k"] == "end"


def test_what_cannot_be_loaded_ends_the_wait_with_its_reason(monkeypatch, tiny_directory):
    def fails(*given):
        raise InputError("It is damaged.")

    monkeypatch.setattr(resident_module, "load_checkpoint", fails)
    for view in WORKING:
        resident = Resident(str(tiny_directory), "cpu")
        values = {setting.name: setting.default for setting in view.settings} | {"last": "fire"}
        with pytest.raises(InputError, match=r"^It is damaged\.$"):
            next(view.work.carry_out(values, resident, lambda: False))
