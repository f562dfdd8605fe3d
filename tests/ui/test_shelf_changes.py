"""The shelf while the server runs: adding, making room, failures that leave all as it was, public pages."""

import shutil
import threading
import time
from functools import partial
from pathlib import Path

import gradio as gr
import pytest

from ddemo import runs
from ddemo.denoisers import loading
from ddemo.denoisers.fit import Fit, Need, Use
from ddemo.denoisers.stored import LoadStopped
from ddemo.errors import InputError
from ddemo.sampling import SamplerConfig
from ddemo.ui import resident as resident_module
from ddemo.ui.api import of_text, stream
from ddemo.ui.shelf import Shelf

GB = 10**9


@pytest.fixture
def shelf() -> Shelf:
    return Shelf.of(["exact-world", "exact-world-uniform"], "cpu")


@pytest.fixture
def other(tiny_directory, tmp_path) -> str:
    return str(shutil.copytree(tiny_directory, tmp_path / "other"))


@pytest.fixture
def room_for(monkeypatch):
    """Pretend that only so many checkpoints fit into the memory together."""

    def limit(shelf: Shelf, most: int) -> None:
        def fit(resident, *use) -> Fit:
            there = sum(each.loaded for each in shelf)
            return Fit(Use("float32"), Need(GB, 0, 0, 0), 10 * GB if there < most else 0, None)

        monkeypatch.setattr(resident_module.Resident, "fit", fit)
        monkeypatch.setattr(resident_module.Resident, "weight_bytes", GB)

    return limit


def run_of(resident):
    return runs.begin(resident.get(), "", 6, SamplerConfig("confidence", steps=6))


def steps_of(resident, trace):
    with resident.at_work() as (checkpoint, engine):
        return runs.carry_out(checkpoint, trace, engine=engine)


# ---------------------------------------------------------------- adding


def test_several_are_listed_in_their_order_before_the_shipped_ones(other):
    shelf = Shelf.of([other, "exact-world", other], "cpu")
    assert [resident.id for resident in shelf][:2] == ["other", "exact-world"] and shelf.default.id == "other"
    assert "classics-mdm" in shelf


def test_one_more_is_offered_and_loads_when_it_is_asked_for(shelf, other):
    before = [resident.id for resident in shelf]
    added = shelf.add(other)
    assert [resident.id for resident in shelf] == [*before, "other"] and shelf["other"] is added and added.loading
    assert shelf.load(other) is added and added.loaded and added.get().id == "other"
    assert shelf.add(other) is added


def test_another_of_the_same_name_is_refused(shelf, tiny_directory, other):
    shelf.add(other)
    twin = Path(other).parent / "elsewhere" / "other"
    shutil.copytree(tiny_directory, twin)
    with pytest.raises(InputError, match="Another checkpoint is called other here"):
        shelf.add(str(twin))
    assert shelf["other"].directory == Path(other)


@pytest.mark.parametrize("name", ["no-such-thing", "owner/name", "a/b/c"])
def test_what_is_not_there_is_not_offered(shelf, name):
    before = list(shelf)
    with pytest.raises(InputError, match="There is no checkpoint"):
        shelf.load(name)
    assert list(shelf) == before


def test_one_that_cannot_be_loaded_leaves_the_shelf_as_it_was(shelf, other, monkeypatch):
    before = list(shelf)
    shelf.default.get()
    real = resident_module.load_checkpoint

    def fails(name, *rest):
        if name == other:
            raise InputError("It is damaged.")
        return real(name, *rest)

    monkeypatch.setattr(resident_module, "load_checkpoint", fails)
    with pytest.raises(InputError, match="It is damaged"):
        shelf.load(other)
    assert list(shelf) == before and shelf.default.loaded
    monkeypatch.setattr(resident_module, "load_checkpoint", real)
    assert shelf.load(other).get().id == "other", "and it can be tried again"


def test_one_that_could_not_be_loaded_is_tried_again_for_whoever_asks_anew(shelf, monkeypatch):
    resident, real = shelf.default, resident_module.load_checkpoint
    tries = []

    def fails(*given):
        tries.append(given)
        raise InputError("1 GB is free.")

    monkeypatch.setattr(resident_module, "load_checkpoint", fails)
    for _ in range(2):
        with pytest.raises(InputError, match="1 GB is free"):
            resident.start().get()
    assert len(tries) == 1, "who only looks is told what is known"
    with pytest.raises(gr.Error, match="1 GB is free"):
        list(stream(shelf, partial(of_text, "", 6), {}))
    assert len(tries) == 2
    monkeypatch.setattr(resident_module, "load_checkpoint", real)
    assert list(stream(shelf, partial(of_text, "", 6), {}))[-1]["done"] and resident.loaded


def test_a_load_that_fails_leaves_the_type_and_the_force_of_before(shelf, other, monkeypatch):
    resident, real = shelf.add(other), resident_module.load_checkpoint

    def fails(*given):
        raise InputError("It is damaged.")

    monkeypatch.setattr(resident_module, "load_checkpoint", fails)
    with pytest.raises(InputError, match="It is damaged"):
        shelf.load(other, force=True, dtype="float16")
    assert (resident.dtype, resident.force) == ("auto", False)
    monkeypatch.setattr(resident_module, "load_checkpoint", real)
    assert resident.start(again=True).get().dtype == "float32"


# ---------------------------------------------------------------- making room


def test_idle_ones_give_way_the_longest_unused_first(shelf, other, room_for):
    shelf["exact-world-uniform"].get()
    shelf["exact-world"].get()
    room_for(shelf, 2)
    shelf.load(other)
    assert [resident.id for resident in shelf if resident.loaded] == ["exact-world", "other"]
    assert shelf["exact-world-uniform"].loading, "it is still offered"
    assert shelf["exact-world-uniform"].get().id == "exact-world-uniform"


def test_the_default_gives_way_last_of_all(shelf, other, room_for):
    shelf["exact-world"].get()
    shelf["exact-world-uniform"].get()
    room_for(shelf, 1)
    shelf.load(other)
    assert [resident.id for resident in shelf if resident.loaded] == ["other"]
    shelf["exact-world-uniform"].get()
    assert [resident.id for resident in shelf if resident.loaded] == ["exact-world-uniform"]


def test_one_that_is_at_work_stays(shelf, other, room_for):
    worker = shelf["exact-world"]
    trace = run_of(worker)
    steps = steps_of(worker, trace)
    next(steps)
    assert worker.busy
    room_for(shelf, 1)
    shelf.load(other)
    assert worker.loaded
    for _ in steps:
        pass
    assert trace.state == "finished" and not worker.busy


def test_one_whose_weights_are_in_use_beside_its_lanes_stays(shelf, other, room_for):
    worker = shelf["exact-world"]
    with worker.at_work():
        assert worker.busy
        room_for(shelf, 1)
        shelf.load(other)
        assert worker.loaded
    assert not worker.busy


def test_nothing_gives_way_to_what_would_not_fit_all_the_same(shelf, other, monkeypatch):
    shelf["exact-world"].get()
    shelf["exact-world-uniform"].get()
    monkeypatch.setattr(loading, "free_memory", lambda device: 1000)
    with pytest.raises(InputError, match=r"^other needs about .+ is free\.$"):
        shelf.load(other)
    assert [resident.id for resident in shelf if resident.loaded] == ["exact-world", "exact-world-uniform"]


def test_a_run_under_way_ends_even_if_its_checkpoint_is_given_up(shelf):
    resident = shelf["exact-world"]
    trace = run_of(resident)
    steps = steps_of(resident, trace)
    next(steps)
    resident.unload()
    assert resident.loading
    for _ in steps:
        pass
    assert trace.state == "finished"
    assert resident.get().id == "exact-world"


def test_where_room_was_made_in_vain_what_gave_way_comes_back(shelf, other, room_for, monkeypatch):
    shelf["exact-world"].get()
    shelf["exact-world-uniform"].get()
    room_for(shelf, 1)
    real = resident_module.load_checkpoint

    def fails(name, *rest):
        if name == other:
            room_for(shelf, 9)
            raise InputError("It needs more memory than there is.")
        return real(name, *rest)

    monkeypatch.setattr(resident_module, "load_checkpoint", fails)
    with pytest.raises(InputError, match="more memory"):
        shelf.load(other)
    for resident in shelf:
        if resident.id.startswith("exact-world"):
            resident._thread.join()
            assert resident.loaded
    assert "other" not in shelf


def test_one_load_at_a_time(shelf, monkeypatch):
    at_once, most, real = [], [], resident_module.load_checkpoint

    def watched(*given):
        at_once.append(given)
        most.append(len(at_once))
        try:
            return real(*given)
        finally:
            at_once.pop()

    monkeypatch.setattr(resident_module, "load_checkpoint", watched)
    askers = [threading.Thread(target=resident.get) for resident in shelf if resident.id.startswith("exact")]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(60)
    assert most == [1, 1]


def test_what_does_not_fit_is_refused_and_can_be_forced(shelf, other, monkeypatch):
    monkeypatch.setattr(loading, "free_memory", lambda device: 1000)
    with pytest.raises(InputError, match=r"^other needs about .+ is free\.$"):
        shelf.load(other)
    assert "other" not in shelf
    assert shelf.load(other, force=True).loaded


# ---------------------------------------------------------------- stopping a load


@pytest.fixture
def slow(monkeypatch):
    """Loads wait before their weights come, until they are stopped."""
    real, under_way = resident_module.load_checkpoint, threading.Event()

    def load(name, device, dtype, force, stopped):
        under_way.set()
        while not stopped():
            time.sleep(0.01)
        return real(name, device, dtype, force, stopped)

    monkeypatch.setattr(resident_module, "load_checkpoint", load)
    yield under_way
    monkeypatch.setattr(resident_module, "load_checkpoint", real)


def test_a_load_that_is_stopped_leaves_the_shelf_as_it_was(shelf, other, slow, monkeypatch):
    before = list(shelf)
    with pytest.raises(LoadStopped, match=r"^Loading other was stopped.$"):
        shelf.load(other, stopped=slow.is_set)
    assert list(shelf) == before
    monkeypatch.undo()
    assert shelf.load(other).loaded, "and it can be loaded after all"


def test_what_was_listed_before_stays_listed_and_loads_for_whoever_asks_next(shelf, other, slow, monkeypatch):
    added = shelf.add(other)
    with pytest.raises(LoadStopped):
        shelf.load(other, stopped=slow.is_set)
    assert shelf["other"] is added and added.loading and not added.problem
    monkeypatch.undo()
    assert added.get().id == "other"


def test_who_only_waits_for_it_gets_it_all_the_same(shelf, other, slow, monkeypatch):
    """One visitor stops the load in the Models tab, while another waits for it on Denoise."""
    added, waiting = shelf.add(other).start(), threading.Event()

    def wait() -> None:
        waiting.set()
        added.await_weights(lambda: False)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert waiting.wait(60) and slow.wait(60)
    with pytest.raises(LoadStopped):
        shelf.load(other, stopped=lambda: True)
    monkeypatch.undo()
    added._stop.set()  # the load that the waiter may have begun meanwhile is as slow
    waiter.join(60)
    assert added.loaded and not added.problem


def test_what_fails_after_a_stop_is_a_failure(shelf, other, monkeypatch):
    pressed = threading.Event()

    def fails(name, device, dtype, force, stopped):
        pressed.set()
        while not stopped():
            time.sleep(0.01)
        raise InputError("Its weights are damaged.")

    monkeypatch.setattr(resident_module, "load_checkpoint", fails)
    with pytest.raises(InputError, match="damaged") as raised:
        shelf.load(other, stopped=pressed.is_set)
    assert not isinstance(raised.value, LoadStopped)


def test_a_load_in_another_type_that_is_stopped_brings_back_the_one_of_before(shelf, other, monkeypatch):
    resident = shelf.load(other)
    with pytest.raises(LoadStopped):
        shelf.load(other, dtype="bfloat16", stopped=lambda: True)
    assert resident.get().dtype == "float32" and resident.dtype == "float32"


def test_who_stops_too_late_has_it_loaded(shelf, other):
    resident = shelf.load(other)
    assert shelf.load(other, stopped=lambda: True) is resident and resident.loaded


# ---------------------------------------------------------------- another type of weights


def test_what_is_at_work_is_not_loaded_in_another_type(shelf, other):
    resident = shelf.load(other)
    trace = run_of(resident)
    steps = steps_of(resident, trace)
    next(steps)
    with pytest.raises(InputError, match=r"^other is at work: load it in bfloat16 when that has ended"):
        shelf.load(other, dtype="bfloat16")
    for _ in steps:
        pass
    assert resident.get().dtype == "float32" and trace.state == "finished"
    assert shelf.load(other, dtype="bfloat16") is resident and resident.get().dtype == "bfloat16"


def test_where_another_type_fails_the_one_of_before_is_back(shelf, other, monkeypatch):
    resident = shelf.load(other)
    real = resident_module.load_checkpoint

    def load(name, device, dtype, *forced):
        if dtype == "bfloat16":
            raise InputError("It does not fit.")
        return real(name, device, dtype, *forced)

    monkeypatch.setattr(resident_module, "load_checkpoint", load)
    with pytest.raises(InputError, match="It does not fit"):
        shelf.load(other, dtype="bfloat16")
    assert resident.get().dtype == "float32" and shelf["other"] is resident


# ---------------------------------------------------------------- public pages


def test_on_a_public_page_only_what_the_owner_listed_is_there(other):
    shelf = Shelf.of([other], "cpu", public=True)
    assert [resident.id for resident in shelf] == ["other"]
    assert len(list(Shelf.of((), "cpu", public=True))) > 1, "the shipped ones, where nothing is listed"


@pytest.mark.parametrize("name", ["classics-mdm", "exact-world", "owner/name", "/etc", "."])
def test_on_a_public_page_nothing_is_added(name, other):
    shelf = Shelf.of([other], "cpu", public=True)
    for change in (shelf.add, shelf.load):
        with pytest.raises(InputError, match="that its owner has listed"):
            change(name)
    assert [resident.id for resident in shelf] == ["other"]


def test_what_has_gone_from_the_disk_tells_no_path(other):
    shelf = Shelf.of([other], "cpu", public=True)
    shutil.rmtree(other)
    with pytest.raises(gr.Error) as caught:
        list(stream(shelf, partial(of_text, "The", 4), {}, "other"))
    assert "other is no longer where it was" in str(caught.value) and str(Path(other).parent) not in str(caught.value)


@pytest.mark.parametrize("public", [True, False])
def test_the_api_takes_no_ids_and_no_paths(other, public):
    shelf = Shelf.of([other], "cpu", public=public)
    for name in (other, "kuleshov-group/mdlm-owt", "../other", "owner/name@main"):
        with pytest.raises(gr.Error, match="There is no such checkpoint on this page") as caught:
            list(stream(shelf, partial(of_text, "The", 4), {}, name))
        assert str(Path(other).parent) not in str(caught.value)
