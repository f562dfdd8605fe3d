"""Work that waits for weights can be stopped while it waits, and the weights still come."""

import threading
import time

import pytest

from ddemo.errors import InputError
from ddemo.ui import resident as resident_module
from ddemo.ui.lab import VIEWS
from ddemo.ui.resident import Resident

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
    updates, seen = view.work.carry_out(values, resident, pressed.is_set), []
    waiting = threading.Thread(target=lambda: seen.extend(updates), daemon=True)
    waiting.start()
    time.sleep(0.2)
    assert waiting.is_alive() and not seen and resident.loading
    pressed.set()
    waiting.join(10)
    [update] = seen
    assert update.said == f"Stopped before {resident.id} was asked anything." and not update.shown
    assert resident.loading  # for others who wait for it
    door.set()
    assert resident.arrives(lambda: False) and resident.loaded


def test_what_cannot_be_loaded_ends_the_wait_with_its_reason(monkeypatch, tiny_directory):
    def fails(*given):
        raise InputError("It is damaged.")

    monkeypatch.setattr(resident_module, "load_checkpoint", fails)
    for view in WORKING:
        resident = Resident(str(tiny_directory), "cpu")
        values = {setting.name: setting.default for setting in view.settings} | {"last": "fire"}
        with pytest.raises(InputError, match=r"^It is damaged\.$"):
            next(view.work.carry_out(values, resident, lambda: False))
