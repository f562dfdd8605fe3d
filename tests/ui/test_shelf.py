"""The shelf: which checkpoints are offered, what a page shows of the chosen one, and what stays when another is."""

import json
from types import SimpleNamespace

import gradio as gr
import pytest

from ddemo.denoisers import find_checkpoint
from ddemo.denoisers.loading import SHIPPED
from ddemo.errors import InputError
from ddemo.sampling.samplers import of_process
from ddemo.settings import Usual
from ddemo.ui import resident as resident_module
from ddemo.ui import shelf as shelf_module
from ddemo.ui.chosen import about, kept_text, kind_of
from ddemo.ui.compare import Layout
from ddemo.ui.controls import CHOICE, KINDS, Controls, Kind, shown_of
from ddemo.ui.denoise import DenoiseTab
from ddemo.ui.examples import TRY
from ddemo.ui.shelf import Shelf
from tests.denoisers import decoder_checkpoints, dit_checkpoints
from tests.ui.conftest import HeldCheckpoint, denoise_tab_of_names

TEXT = "The old sailor [MASK:5] into the sea."


@pytest.fixture
def shelf(tiny, tiny_latent) -> Shelf:
    return Shelf([HeldCheckpoint(tiny), HeldCheckpoint(tiny_latent)])


@pytest.fixture
def tab() -> DenoiseTab:
    return denoise_tab_of_names(Controls(KINDS["absorbing"], Usual.of("absorbing")))


# ---------------------------------------------------------------- what is offered


def test_all_shipped_checkpoints_are_offered_after_the_one_asked_for():
    shelf = Shelf.of("exact-world", "cpu")
    shipped = {path.parent.name for path in SHIPPED.glob("*/config.json")}
    assert shelf.default.id == "exact-world" and next(iter(shelf)).id == "exact-world"
    assert {item.id for item in shelf} == shipped and len(list(shelf)) == len(shipped)


def test_nothing_is_loaded_before_it_is_asked_for_and_then_once(monkeypatch):
    loaded, real = [], resident_module.load_checkpoint
    monkeypatch.setattr(resident_module, "load_checkpoint", lambda *a: loaded.append(a[0]) or real(*a))
    shelf = Shelf.of("exact-world", "cpu")
    assert not loaded and shelf["exact-world-uniform"].loading
    assert shelf["exact-world-uniform"].get() is shelf["exact-world-uniform"].start().get()
    assert loaded == ["exact-world-uniform"] and shelf["exact-world"].loading


def test_a_shipped_checkpoint_that_is_damaged_is_left_out(monkeypatch):
    real = shelf_module.Resident

    def resident(name, *arguments):
        if name == "exact-world-uniform":
            raise InputError("It is damaged.")
        return real(name, *arguments)

    monkeypatch.setattr(shelf_module, "Resident", resident)
    assert "exact-world-uniform" not in Shelf.of("exact-world", "cpu")
    with pytest.raises(InputError, match="It is damaged"):
        Shelf.of("exact-world-uniform", "cpu")


@pytest.mark.parametrize("name", [None, 5, "", "../tiny-mdm", "other", ["tiny-mdm"]])
def test_what_is_not_offered_is_a_sentence(shelf, name):
    with pytest.raises(
        InputError, match=r"^There is no such checkpoint on this page: choose one of tiny-mdm, tiny-latent\.$"
    ):
        shelf[name]


def test_companions_share_their_tokens(shelf, tiny):
    assert [item.id for item in shelf.companions(shelf["tiny-latent"])] == ["tiny-latent", "tiny-mdm"]
    worlds = Shelf.of("exact-world", "cpu")
    ids = {item.id for item in worlds.companions(worlds.default)}
    assert "exact-world-uniform" in ids and "classics-mdm" not in ids


# ---------------------------------------------------------------- choosing another


def test_what_the_browser_knows_of_a_checkpoint(shelf):
    told = json.loads(about(shelf["tiny-latent"]))
    assert (told["id"], told["process"]) == ("tiny-latent", "gaussian")
    assert KINDS[told["kind"]] == kind_of(shelf["tiny-latent"])
    assert [title for title, *_ in told["tries"]] == [item.title for item in TRY]


def test_a_text_that_the_other_can_read_stays(tab, shelf):
    updates = tab.switched(shelf["tiny-latent"], TEXT, 7)
    assert "value" not in updates["text"] and updates["length"] == gr.skip(), "nothing goes back into what is typed"
    drafted = json.loads(updates["canvas"])
    assert drafted["k"] == "draft" and drafted["head"]["checkpoint"] == "tiny-latent"
    assert updates[CHOICE]["value"] == "ddpm"
    assert [value for _, value in updates[CHOICE]["choices"]] == ["ddpm", "ddim"]
    assert updates["clamp"]["visible"] and not updates["draw"]["visible"]
    assert json.loads(updates["about"])["sentence"]


def test_what_a_checkpoint_recommends_comes_with_it(tab, tiny):
    resident = HeldCheckpoint(tiny)
    resident.usual = Usual.of("absorbing", {"sampler": "p2", "eta": 0.5, "temperature": 0.8, "steps": 64})
    updates = tab.switched(resident, TEXT, 7)
    assert updates[CHOICE]["value"] == "p2" and updates["planner"]["visible"]
    assert [updates[name]["value"] for name in ("eta", "temperature", "steps")] == [0.5, 0.8, 64]
    assert updates["planner"]["value"] == "self", "of the sampler's own"
    other = tab.switched(resident, TEXT, 7, "confidence")
    assert other[CHOICE]["value"] == "confidence" and other["temperature"]["value"] == 0.8
    assert not other["eta"]["visible"] and "value" not in other["eta"]


def test_a_text_that_the_other_cannot_read_gives_way():
    world = Shelf.of("exact-world", "cpu").default
    first = json.loads(about(world))["tries"][0]
    assert list(kept_text("A word it does not know", 5, world)) == first[1:]
    assert kept_text("The queen", 4, world) == ("The queen", 4)
    assert list(kept_text(None, 5, world)) == first[1:]


def test_a_recorded_run_is_shown_where_the_first_text_stands_untouched(tab):
    masked = Shelf.of("classics-mdm", "cpu").default
    first = TRY[0]
    assert json.loads(tab.switched(masked, first.text, first.length)["canvas"])["k"] == "trace"
    assert json.loads(tab.switched(masked, "The old sailor", 48)["canvas"])["k"] == "draft"


def test_compare_offers_the_questions_that_make_sense(shelf, tiny):
    with gr.Blocks():
        header = SimpleNamespace(chosen=gr.HTML(about(shelf.default)))
        layout = Layout(shelf, header, Controls(kind_of(shelf.default), shelf.default.usual, "compare-"))
    updates = layout.switched(shelf["tiny-latent"], "argmaxes", TEXT, 3)
    offered = [name for _, name in updates[layout.question]["choices"]]
    assert "clamp" in offered and "noises" in offered and "argmaxes" not in offered
    assert updates[layout.question]["value"] == offered[0]
    assert set(updates) == set(layout.switching)
    assert "value" not in layout.switched(shelf["tiny-latent"], "noises", TEXT, 3)[layout.question]


def test_a_kind_tells_what_its_samplers_read():
    for process in ("absorbing", "uniform", "gaussian"):
        ends, endless = Kind(process, True), Kind(process, False)
        assert KINDS[ends.key] == ends and KINDS[endless.key] == endless and ends.key != endless.key


def test_a_cache_is_offered_where_one_can_be_kept_and_says_whether_it_is_exact(tmp_path):
    offered = {}
    for name in ("llada", "a2d-qwen3-bd3lm"):
        resident = Shelf.of(str(decoder_checkpoints.write(name, tmp_path / name)), "cpu").default
        kind = kind_of(resident)
        assert KINDS[kind.key] == kind and "cache" in kind.read_by(resident.usual.sampler)
        told = shown_of("cache", resident.usual.sampler, kind)
        assert told["visible"] and told["value"] == "none"
        offered[name] = [tuple(choice) for choice in told["choices"]]
    both = [("none", "none"), ("prefix (approximate)", "prefix"), ("dual (approximate)", "dual")]
    assert offered == {"llada": both, "a2d-qwen3-bd3lm": [("none", "none"), ("prefix (exact)", "prefix")]}
    for process in ("absorbing", "uniform", "gaussian"):
        kind = Kind(process, True)
        assert all("cache" not in kind.read_by(sampler) for sampler in of_process(process))


def test_a_checkpoint_is_found_by_its_directory():
    directory = find_checkpoint("exact-world")
    assert Shelf.of(str(directory), "cpu").default.id == "exact-world"


def test_a_checkpoint_that_can_read_none_of_the_texts_offers_a_blank_page(tab, tmp_path):
    resident = Shelf.of([str(dit_checkpoints.write("mdlm", tmp_path / "letters"))], "cpu").default
    updates = tab.switched(resident, TEXT, 7)
    shown = [updates[chip]["value"] for chip in tab.chips if updates[chip]["visible"]]
    assert shown == ["Blank page"] and updates["text"]["value"] == "", "the text was one that it cannot read"
