"""The Denoise page's handlers, called as Gradio calls them: each press ends with a run or a sentence, and idle."""

import json
import threading
import traceback
from collections import OrderedDict
from dataclasses import replace
from functools import partial

import gradio as gr
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddemo import runs
from ddemo.denoisers import find_checkpoint, load_checkpoint, load_codec
from ddemo.denoisers.loading import canvas_limit_of
from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS, SamplerConfig, read_text
from ddemo.sampling.engine import LEAD
from ddemo.sampling.samplers import of_process
from ddemo.ui import denoise as denoise_module
from ddemo.ui import examples as examples_module
from ddemo.ui import resident as resident_module
from ddemo.ui.denoise import UNEXPECTED, draft_of, drafted, named, stop, take_text
from ddemo.ui.examples import FEW_WORDS, TRY, trace_of, tries_for
from ddemo.ui.resident import Resident
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import GONE, SentMessages, data_of
from tests.ui.conftest import EXAMPLE_RUN, HeldCheckpoint, Page, Shown
from tests.ui.reader import Reader

TEXT = "The old sailor [MASK:5] into the sea, and said [MASK:3] at all."


def check_refused(shown: Shown, page: Page, begins: str = "") -> str:
    """A press that did nothing but say why: one sentence, controls idle, canvas told, text box not touched."""
    assert shown.is_idle and shown.run is None
    assert set().union(*shown.updates) <= set(Page.OUTPUTS)
    assert shown.notices[-1]["kind"] == "error"
    assert page.reader.said[-1] == "" and json.loads(shown.of("canvas")[-1])["k"] == "say"
    orjson.dumps(shown.updates)  # what Gradio writes it with; a lone surrogate would end the stream
    sentence = shown.sentence
    assert sentence.startswith(begins) and sentence.endswith(".") and "\n" not in sentence and len(sentence) < 400
    assert "Traceback" not in sentence and "Error" not in sentence
    return sentence


# ---------------------------------------------------------------- a run


@pytest.mark.parametrize("sampler", ["confidence", "ancestral"])
def test_a_press_streams_a_whole_run(page, sampler):
    shown = page.denoise(TEXT, sampler=sampler, seed=7)
    first, *_, last = shown.updates
    assert first["run_button"]["visible"] is False and first["stop_button"]["visible"] is True
    assert "canvas" in last and shown.is_idle
    assert shown.of("seed") == [] and page.visit.runs[shown.id].config.seed == 7
    assert shown.sentence == "" and shown.notices[-1]["kind"] == "note"
    assert shown.run.end["state"] == "finished"
    text = shown.run.text()
    assert text.startswith("The old sailor") and text.endswith(" at all.") and "[MASK]" not in text
    trace = page.visit.runs[shown.id]
    assert (trace.state, runs.summary(page.resident.get(), trace)["text"]) == ("finished", text)
    assert [json.loads(value)["k"] for value in shown.of("canvas")] == ["open", *["frame"] * len(trace.frames), "end"]


def test_the_canvas_can_fetch_all_that_was_sent(page):
    shown = page.denoise(TEXT)
    assert json.loads(page.sent.since(shown.id, 0)) == [json.loads(value) for value in shown.of("canvas")]
    assert len(json.loads(page.sent.since(shown.id, 3))) == len(shown.of("canvas")) - 3


def test_a_new_seed_is_shown_and_gives_the_same_run_again(page):
    first = page.denoise("", 12, new_seed=True)
    second = page.denoise("", 12, new_seed=True)
    seeds = [first.of("seed")[0], second.of("seed")[0]]
    assert seeds[0] != seeds[1] and all(type(seed) is int and seed >= 0 for seed in seeds)
    again = page.denoise("", 12, seed=seeds[0])
    assert again.run.tokens == first.run.tokens != second.run.tokens


def test_a_note_says_that_steps_are_left_over(page):
    assert page.denoise(TEXT, steps=30).sentence == "There are 8 masks, so the run ends after 8 of the 30 steps."


@pytest.mark.parametrize("sampler", [sampler.name for sampler in of_process("absorbing")])
def test_every_sampler_runs_with_what_the_page_shows_of_it(page, sampler):
    shown = page.denoise(TEXT, sampler=sampler, steps=5)
    assert shown.is_idle and shown.run.end["state"] == "finished" and "[MASK]" not in shown.run.text()
    assert shown.run.head["sampler"] == SAMPLERS[sampler].title
    again = page.resume({"run": shown.id, "step": 2, "segment": 0, "cells": None})
    assert again.run.text() == shown.run.text()


@pytest.mark.parametrize("sampler", [sampler.name for sampler in of_process("uniform")])
def test_every_sampler_of_uniform_noise_runs_on_a_page_of_its_own(sampler):
    page = Page(HeldCheckpoint(load_checkpoint("exact-world-uniform")))
    shown = page.denoise("The queen [MASK:3].", 0, sampler=sampler, steps=6)
    assert shown.run.end["state"] == "finished" and shown.run.head["noise"] == "uniform"
    assert shown.run.text().startswith("The queen ") and shown.run.text().endswith(".")
    mask = shown.run.head["mask"]
    assert all(mask not in stop.tokens for stop in shown.run.stops), "it begins with words"
    assert all(set(stop.look) == {2, 3, 4} for stop in shown.run.steps)
    again = page.resume({"run": shown.id, "step": 3, "segment": 0, "cells": None})
    assert again.run.text() == shown.run.text()


@pytest.mark.parametrize("sampler", [sampler.name for sampler in of_process("gaussian")])
def test_latents_run_on_a_page_of_their_own(tiny_latent, sampler):
    page = Page(HeldCheckpoint(tiny_latent))
    shown = page.denoise(TEXT, sampler=sampler, steps=6)
    assert shown.is_idle and shown.run.end["state"] == "finished" and shown.run.head["noise"] == "gaussian"
    mask = shown.run.head["mask"]
    assert all(mask not in stop.tokens for stop in shown.run.stops), "it begins with words"
    again = page.resume({"run": shown.id, "step": 3, "segment": 0, "cells": None})
    assert again.run.text() == shown.run.text()
    cells = [{"from": position} for position in range(len(shown.run.stops[0].tokens))]
    cells[-1] = {"from": len(cells) - 1, "mask": True}
    edited = page.resume({"run": shown.id, "step": 3, "segment": 0, "cells": cells})
    assert edited.run.end["state"] == "finished" and edited.is_idle


def test_what_another_sampler_left_in_a_hidden_field_is_not_read(page):
    shown = page.denoise(TEXT, sampler="confidence", threshold=7.0, schedule="nonsense")
    assert shown.run.end["state"] == "finished" and "threshold" not in shown.run.head["settings"]


def test_numbers_may_come_as_a_browser_has_them(page):
    shown = page.denoise("", 6.0, steps=4.0, top_k=0.0, temperature=1, seed=3.0)
    assert shown.run.end["state"] == "finished" and page.visit.runs[shown.id].config.seed == 3


@pytest.mark.parametrize(
    "name", ["classics-mdm", "classics-uniform", "classics-latent", "exact-world", "exact-world-uniform"]
)
def test_the_texts_to_try_suit_the_checkpoint(name):
    directory = find_checkpoint(name)
    codec, limit = load_codec(directory), canvas_limit_of(directory)
    offered = tries_for(codec, limit)
    assert [item.title for item in offered] == [item.title for item in (TRY if limit > 6 else FEW_WORDS)]
    for item in offered:
        assert len(read_text(item.text, item.length, codec, limit).masks(codec.mask_id)) > 0


def test_a_prompt_gets_no_more_new_tokens_than_there_is_room_for(tiny):
    first, *_, blank = tries_for(tiny.codec, 64)
    prompt = len(tiny.codec.encode(first.text)[0])
    assert first == replace(TRY[0], length=64 - prompt) and blank == TRY[-1]
    assert tries_for(tiny.codec, 6)[-1].length == 6


def test_the_recorded_run_is_shown_with_the_checkpoint_that_made_it(tiny):
    recorded = [name for name in ("classics-mdm", "classics-uniform", "classics-latent", tiny.id) if trace_of(name)]
    assert recorded == ["classics-mdm", "classics-uniform", "classics-latent"]
    said = json.loads(denoise_module.first_value(HeldCheckpoint(tiny)))
    assert said["k"] == "draft" and said["segment"]["tail"] == tries_for(tiny.codec, 64)[0].length


@pytest.mark.parametrize(
    "text",
    [
        "😀 [MASK:2] 👩‍🚀",
        "שלום [MASK:2] עולם",
        "zero\u200bwidth\ufeff [MASK] \u202eturned",
        "<script>alert(1)</script> [MASK]",
        "${alert(1)} {{value}} [MASK]",
        "<img src=x onerror=alert(1)>[MASK]",
        "un[MASK]able",
        "tabs\tand\r\nlines\n[MASK]",
        "[PAD]<|endoftext|> [MASK]",
        "\x00\x07 [MASK]",
        "a ___ b",
    ],
)
def test_text_is_kept_to_the_character_whatever_it_is(page, text):
    shown = page.denoise(text, 0)
    head, tail = text.replace("[MASK:2]", "[MASK]").replace("___", "[MASK]").split("[MASK]")
    filled = shown.run.text()
    assert shown.run.end["state"] == "finished"
    assert filled.startswith(head.removesuffix(" ")) and filled.endswith(tail)
    assert len(filled) >= len(head + tail)


# ---------------------------------------------------------------- what cannot be done


@pytest.mark.parametrize(
    ("wrong", "begins"),
    [
        ({"sampler": "magic"}, "sampler must be one of"),
        ({"sampler": None}, "sampler must be one of"),
        ({"sampler": ["confidence"]}, "sampler must be one of"),
        ({"sampler": "uniform-joint"}, "sampler must be one for absorbing noise"),
        ({"sampler": "maskgit", "order_temperature": None}, "order_temperature must be a number"),
        ({"sampler": "maskgit", "mask_schedule": "steep"}, "mask_schedule must be one of cosine"),
        ({"sampler": "threshold", "threshold": 1.5}, "threshold must be a number in [0, 1]"),
        ({"sampler": "sedd-euler", "schedule": "d3pm-cosine"}, "schedule must be one of"),
        ({"sampler": "random", "end_of_text": "late"}, "end_of_text must be one of allow, suppress, stop"),
        ({"block_length": 3}, "block_length must divide the 4 masks, which 3 does not"),
        ({"block_length": 1, "steps": 2}, "steps must be at least 4, one for each block"),
        ({"guidance": float("nan")}, "guidance must be a number"),
        ({"sampler": "\ud800"}, "sampler must be one of"),
        ({"draw": ["sample"]}, "draw must be one of"),
        ({"temperature": -0.1}, "temperature must be a number"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"temperature": None}, "temperature must be a number"),
        ({"top_k": -1}, "top_k must be a whole number"),
        ({"top_k": 1.5}, "top_k must be a whole number"),
        ({"top_p": 0}, "top_p must be a number"),
        ({"top_p": 1.01}, "top_p must be a number"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"steps": 100_000}, "steps must be a whole number from 1 to 1,024"),
        ({"steps": float("inf")}, "steps must be a whole number"),
        ({"steps": "many"}, "steps must be a number"),
        ({"steps": True}, "steps must be a number"),
        ({"steps": {"a": 1}}, "steps must be a number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 10**400}, "seed must be a number"),
        ({"length": -3}, "The number of new tokens must be a whole number"),
        ({"length": "ten"}, "The number of new tokens must be a whole number"),
        ({"length": float("nan")}, "The number of new tokens must be a whole number"),
        ({"length": 10**400}, "The number of new tokens must be a whole number"),
        ({"length": 65, "text": "x"}, "The masks alone make 65 tokens, and this checkpoint takes at most 64"),
        ({"length": 10_000}, "The masks alone make 10,000 tokens, and this checkpoint takes at most 64"),
        ({"length": 0}, "There is nothing to fill"),
        ({"length": None, "text": None}, "There is nothing to fill"),
        ({"text": "[MASK:10000]"}, "The masks alone make 10,000 tokens, and this checkpoint takes at most 64"),
        ({"text": "[MASK:0]"}, "[MASK:0] does not say how many tokens"),
        ({"text": "[MASK:five]"}, "[MASK:five] does not say how many tokens"),
        ({"text": "word " * 100}, "The text and masks make"),
        ({"text": "x" * 100_001}, "The text has 100,001 characters"),
        ({"text": "half \ud83d of a pair"}, "Character 6 of the text is half of a broken pair"),
        ({"text": ["a", "b"]}, "The text must be a string"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(page, wrong, begins):
    shown = page.denoise(**{"text": "Once", "length": 4} | wrong)
    check_refused(shown, page, begins)
    assert page.resident.get().denoiser.calls == 0 and not page.visit.runs
    assert page.denoise("Once", 4).run.end["state"] == "finished", "the page goes on"


# ---------------------------------------------------------------- going on


def row(page: Page, run: str, step: int) -> list[dict]:
    return [{"from": position} for position in range(len(page.visit.runs[run].canvas_at(step)))]


@pytest.mark.parametrize("sampler", ["confidence", "ancestral"])
def test_continue_without_edits_reproduces_the_run(page, sampler):
    first = page.denoise(TEXT, sampler=sampler)
    shown = page.resume({"run": first.id, "step": 3, "segment": 0, "cells": None})
    assert shown.is_idle and shown.run.end["state"] == "finished" and shown.id != first.id
    assert shown.run.text() == first.run.text()
    assert [stop.tokens for stop in shown.run.stops] == [stop.tokens for stop in first.run.stops]
    assert shown.of("seed") == first.of("seed")


def test_continue_with_edits(page):
    first = page.denoise(TEXT)
    cells = row(page, first.id, 3)
    cells[0] = {"from": 0, "text": "That"}
    cells.append({"mask": True})
    shown = page.resume({"run": first.id, "step": 3, "cells": cells})
    assert shown.is_idle and shown.run.text().startswith("That old sailor")
    assert len(shown.run.tokens) == len(page.visit.runs[shown.id].canvas_at(4)) > len(first.run.tokens)
    assert json.loads(shown.of("canvas")[0])["from"] == first.id
    back = page.resume({"run": shown.id, "step": 3, "segment": 0, "cells": None})
    assert back.run.text() == first.run.text()


def test_a_stopped_run_can_be_continued(page):
    updates = page.start(TEXT)
    seen = [next(updates) for _ in range(5)]
    stop(page.visit)
    first = page.watch(iter([*seen, *updates]))
    assert first.run.end["state"] == "stopped" and first.run.stops[-1].step == 3
    shown = page.resume({"run": first.id, "step": 3, "cells": None})
    assert shown.run.text() == page.denoise(TEXT).run.text()


def test_the_recorded_run_can_be_continued(page, tiny, monkeypatch):
    trace = runs.begin(tiny, TEXT, 0, SamplerConfig(steps=8))
    list(runs.carry_out(tiny, trace))
    monkeypatch.setattr(examples_module, "trace_of", lambda checkpoint: trace)
    page.reader.take(denoise_module.first_value(page.resident))
    before = page.reader.last
    assert "recorded run" in before.head["note"]
    shown = page.resume({"run": EXAMPLE_RUN, "step": 2, "cells": None})
    assert shown.run.text() == before.text() and shown.run.end["state"] == "finished"
    assert len(trace.frames) == 8 and EXAMPLE_RUN not in page.visit.runs


def test_without_a_recorded_run_the_canvas_shows_what_the_box_holds(page, monkeypatch):
    monkeypatch.setattr(examples_module, "trace_of", lambda checkpoint: None)
    assert json.loads(denoise_module.first_value(page.resident))["k"] == "draft"
    assert check_refused(page.resume({"run": EXAMPLE_RUN, "step": 0}), page) == GONE


@pytest.mark.parametrize("run", ["no-such-run", "", None, 5, True, ["r"], {"r": 1}, "\ud800", "../../etc/passwd"])
def test_a_run_that_is_gone_is_a_sentence(page, run):
    page.denoise(TEXT)
    assert check_refused(page.resume({"run": run, "step": 1, "cells": None}), page) == GONE


@pytest.mark.parametrize("data", [None, [], [1, 2], "run", 5, True, {}, {"step": 1}, [["run", "x"]], "x" * 10**6])
def test_an_event_without_usable_data_is_a_sentence(page, data):
    page.denoise(TEXT)
    assert check_refused(page.resume(data), page) == GONE
    assert data_of(gr.EventData(None, data)) == (data if isinstance(data, dict) else {})


@pytest.mark.parametrize(
    ("wrong", "begins"),
    [
        ({"step": -1}, "This run has steps 0 to 8"),
        ({"step": 99}, "This run has steps 0 to 8"),
        ({"step": "1"}, "This run has steps 0 to 8"),
        ({"step": None}, "This run has steps 0 to 8"),
        ({"step": 10**5000}, "This run has steps 0 to 8"),
        ({"step": 8}, "Nothing is left to do at this step"),
        ({"segment": 1}, "Step 2 of this run has no segment"),
        ({"segment": "\ud800"}, "Step 2 of this run has no segment"),
        ({"cells": 5}, "The edited canvas must be a list"),
        ({"cells": "x"}, "The edited canvas must be a list"),
        ({"cells": [{"mask": True}] * 10_000}, "The edited canvas must be a list of at most"),
        ({"cells": [{"mask": True}] * 65}, "With these edits the canvas has more than the 64 tokens"),
        ({"cells": []}, "Nothing is masked"),
        ({"cells": [None]}, "This edit cannot be read"),
        ({"cells": [[[[[]]]]]}, "This edit cannot be read"),
        ({"cells": [{"from": 0, "mask": "yes"}]}, "This edit cannot be read"),
        ({"cells": [{"from": 10**400}]}, "This edit cannot be read"),
        ({"cells": [{"from": 0, "\ud800": 1}]}, "This edit cannot be read"),
        ({"cells": [{"from": 0, "id": -1}]}, "Token -1 cannot be put"),
        ({"cells": [{"from": 0, "id": 10**400}]}, "Token 1000000"),
        ({"cells": [{"from": 0, "id": 1}]}, "Token 1 cannot be put"),
        ({"cells": [{"from": 0, "text": ""}]}, "A token can be replaced by"),
        ({"cells": [{"from": 0, "text": "x" * 10**6}]}, "A token can be replaced by"),
        ({"cells": [{"from": 0, "text": "\ud800"}, {"mask": True}]}, "Character 1 of the text is half"),
    ],
)
def test_edits_that_mean_nothing_are_one_sentence(page, wrong, begins):
    first = page.denoise(TEXT)
    calls = page.resident.get().denoiser.calls
    shown = page.resume({"run": first.id, "step": 2, "cells": None} | wrong)
    check_refused(shown, page, begins)
    assert page.resident.get().denoiser.calls == calls and list(page.visit.runs) == [first.id]
    assert page.resume({"run": first.id, "step": 2, "cells": None}).run.text() == first.run.text()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
CELL = st.fixed_dictionaries(
    {},
    optional={
        "from": st.integers(-1, 40) | JSON,
        "mask": st.just(True) | JSON,
        "id": st.integers(-1, 410) | JSON,
        "text": st.text(max_size=4) | JSON,
        "lock": st.booleans() | JSON,
    },
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.fixed_dictionaries(
        {},
        optional={
            "run": st.just("THE RUN") | JSON,
            "step": st.integers(0, 3) | JSON,
            "cells": st.none() | st.lists(CELL | JSON, max_size=6) | JSON,
            "segment": st.none() | st.integers(0, 1) | JSON,
        },
    )
    | JSON
)
def test_whatever_an_event_holds_the_page_ends_idle_with_a_sentence_or_a_run(page, data):
    if not page.visit.runs:
        page.denoise("The old [MASK:3]", steps=3)
    first = next(iter(page.visit.runs))
    if isinstance(data, dict) and data.get("run") == "THE RUN":
        data = data | {"run": first}
    shown = page.resume(data)
    assert shown.is_idle
    assert shown.sentence != UNEXPECTED
    if shown.run is None:
        check_refused(shown, page)
    else:
        assert shown.run.end["state"] == "finished"
    page.visit.runs = OrderedDict({first: page.visit.runs[first]})


# ---------------------------------------------------------------- when the model fails


def fail_at(page: Page, call: int):
    """The denoiser raises at that call from now."""
    denoiser = page.resident.get().denoiser
    first = denoiser.calls

    def raise_then(_):
        if denoiser.calls - first == call:
            raise RuntimeError("CUDA out of memory at /srv/secret/place.py")

    denoiser.before = raise_then


@pytest.mark.parametrize("call", [1, 4])
def test_a_failing_model_ends_the_run_with_a_sentence(page, call, caplog):
    fail_at(page, call)
    shown = page.denoise(TEXT)
    assert shown.is_idle and shown.sentence == UNEXPECTED and shown.notices[-1]["kind"] == "error"
    assert shown.run.end["state"] == "failed" and shown.run.end["say"].endswith(".")
    assert shown.run.stops[-1].step == call - 1
    everything = json.dumps(shown.updates)
    assert not any(word in everything for word in ("Traceback", "RuntimeError", "CUDA", "secret", "place.py"))
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [RuntimeError], (
        "it is logged, once"
    )
    assert page.denoise(TEXT).run.end["state"] == "finished"
    assert page.resume({"run": shown.id, "step": call - 1, "cells": None}).run.end["state"] == "finished"


def test_a_failure_while_continuing(page):
    first = page.denoise(TEXT)
    fail_at(page, 2)
    shown = page.resume({"run": first.id, "step": 2, "cells": None})
    assert shown.is_idle and shown.sentence == UNEXPECTED and shown.run.end["state"] == "failed"
    assert page.visit.runs[first.id].state == "finished"


def test_leaving_in_the_middle_stops_the_model(page):
    updates = page.start(TEXT)
    seen = [next(updates) for _ in range(4)]
    first = page.watch(iter(seen))
    updates.close()
    denoiser, engine = page.resident.get().denoiser, page.resident.engine
    assert engine.lanes == 0 and page.visit.runs[first.id].state == "stopped"
    assert first.run.stops[-1].step == 2 and denoiser.calls <= 2 + LEAD + 1
    assert page.resume({"run": first.id, "step": 2, "cells": None}).run.text() == page.denoise(TEXT).run.text()


# ---------------------------------------------------------------- stop


def test_stop_ends_within_a_step_and_says_so(page):
    calls = page.resident.get().denoiser
    calls.before = lambda _: calls.calls == 3 and stop(page.visit)
    shown = page.denoise(TEXT)
    assert shown.is_idle and shown.run.end["state"] == "stopped"
    step = shown.run.stops[-1].step
    assert 1 <= step <= 3 <= calls.calls <= 3 + LEAD
    assert shown.run.text().count("[MASK]") == 8 - step
    calls.before = lambda _: None
    assert page.denoise(TEXT).run.end["state"] == "finished", "an old stop does not end the next run"


def test_stop_is_for_one_visitor_only(new_page):
    mine, theirs = new_page(), new_page()
    updates = mine.start(TEXT)
    seen = [next(updates) for _ in range(3)]
    stop(theirs.visit)
    assert mine.watch(iter([*seen, *updates])).run.end["state"] == "finished"


# ---------------------------------------------------------------- loading


@pytest.fixture
def loading(tiny, tiny_directory, monkeypatch):
    """(answer) -> a resident whose checkpoint comes, or fails to come, once `go` is set."""
    go = threading.Event()

    def make(answer) -> Resident:
        def load(*_):
            assert go.wait(30)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(resident_module, "load_checkpoint", load)
        resident = Resident(str(tiny_directory), "cpu").start()
        resident.go = go
        return resident

    yield make
    go.set()


def test_a_press_while_loading_waits_and_says_so(loading, tiny):
    page = Page(loading(tiny))
    updates = page.start(TEXT)
    seen = [next(updates), next(updates)]
    assert seen[0]["stop_button"]["visible"] is True
    assert json.loads(seen[1]["notice"]) == {
        "text": "Loading tiny-mdm: the run begins as soon as it is there.",
        "kind": "note",
    }
    page.resident.go.set()
    shown = page.watch(iter([*seen, *updates]))
    assert shown.run.end["state"] == "finished" and shown.is_idle
    assert shown.sentence == "", "the word of loading is taken back"
    assert not any("Loading" in notice["text"] for notice in page.denoise(TEXT).notices)


def test_bad_input_is_answered_before_the_checkpoint_is_there(loading, tiny):
    page = Page(loading(tiny))
    check_refused(page.denoise("[MASK:9999]"), page, "The masks alone make 9,999 tokens")
    check_refused(page.denoise(steps=0), page, "steps must be")
    check_refused(page.resume({"run": "gone"}), page, "The server no longer has this run")
    assert page.resident.loading
    assert json.loads(draft_of(page.resident, TEXT, 0))["k"] == "draft"


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (InputError("The weights of tiny-mdm are incomplete: cls.bias is missing."),
         "The weights of tiny-mdm are incomplete: cls.bias is missing."),
        (MemoryError("/srv/secret"), "tiny-mdm could not be loaded (MemoryError)."),
    ],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_loaded_is_its_sentence(loading, problem, sentence):
    page = Page(loading(problem))
    updates = page.start(TEXT)
    seen = [next(updates), next(updates)]
    assert "Loading" in seen[1]["notice"]
    page.resident.go.set()
    shown = page.watch(iter([*seen, *updates]))
    assert shown.is_idle and shown.run is None and shown.sentence == sentence
    for _ in range(3):  # each press tries anew
        again = page.denoise(TEXT)
        assert again.is_idle and again.sentence == sentence and len(again.notices) == 2


def test_a_failure_to_load_does_not_collect_those_who_asked(loading):
    """Raising one stored exception again would tie the frames of every visitor to it."""
    resident = loading(InputError("It cannot be loaded."))
    resident.go.set()
    raised = []
    for _ in range(3):
        with pytest.raises(InputError) as caught:
            resident.get()
        raised.append(caught.value)
    assert len({id(problem) for problem in raised}) == 3
    depths = [len(traceback.extract_tb(problem.__traceback__)) for problem in raised]
    assert depths[0] == depths[1] == depths[2] < 4


# ---------------------------------------------------------------- what is typed


def answer(resident, *sent) -> dict:
    """The draft function as Gradio calls it: JavaScript's arguments in one list, or one alone."""
    function = named("draft", partial(drafted, Shelf([resident])), most=3)
    assert function.__name__ == "draft"
    return json.loads(function(list(sent) if len(sent) != 1 else sent[0]))


@pytest.mark.parametrize(
    ("text", "length", "tail"), [(TEXT, 48, 0), ("The old sailor", 6, 6), ("", 5, 5), ("a ___", 0, 0)]
)
def test_a_draft_shows_what_is_typed(tiny, text, length, tail):
    said = answer(HeldCheckpoint(tiny), text, length)
    assert said["k"] == "draft" and said["head"]["mask"] == tiny.codec.mask_id and said["segment"]["tail"] == tail
    read = Reader().take(json.dumps(said))
    masks = read.tokens.count(tiny.codec.mask_id)
    assert masks == (tail or {TEXT: 8, "a ___": 1}[text])
    assert read.tokens == runs.begin(tiny, text, length, SamplerConfig()).segments[0].canvas.tokens.tolist()


def test_drafts_have_ids_of_their_own(tiny):
    assert answer(HeldCheckpoint(tiny), TEXT, 0)["run"] != answer(HeldCheckpoint(tiny), TEXT, 0)["run"]


@pytest.mark.parametrize(
    ("sent", "begins"),
    [
        (("", 0), "There is nothing to fill"),
        (("", 10_000), "The masks alone make 10,000 tokens, and this checkpoint takes at most 64"),
        (("[MASK:10000]", 0), "The masks alone make 10,000 tokens"),
        (("[MASK:-1]", 0), "[MASK:-1] does not say how many"),
        (("\ud800", 4), "Character 1 of the text is half"),
        (("x" * 200_000, 4), "The text has 200,000 characters"),
        (("x", -1), "The number of new tokens"),
        (("x", None), "The number of new tokens"),
        (("x", "\ud800"), "The number of new tokens"),
        (("x", float("nan")), "The number of new tokens"),
        (("x", 10**400), "The number of new tokens"),
        ((None, 4), "The text must be a string"),
        ((["x"], 4), "The text must be a string"),
        ((None,), "The text must be a string"),
        (("x",), "The text must be a string"),
        (({"text": "x"},), "The text must be a string"),
        (("x", 4, 5), "There is no such checkpoint on this page"),
        (("x", 4, "other"), "There is no such checkpoint on this page"),
        (("x", 4, "tiny-mdm", 1), "The text must be a string"),
        ((), "The text must be a string"),
    ],
)
def test_what_cannot_be_drafted_is_a_sentence(tiny, sent, begins):
    said = answer(HeldCheckpoint(tiny), *sent)
    assert said["k"] == "say" and said["text"].startswith(begins) and said["text"].endswith(".")
    orjson.dumps(said)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=30) | st.from_regex(r"[a ]*\[MASK(:\d{0,3})?\][ b_\n]*") | JSON,
    length=st.integers(-2, 70) | JSON,
)
def test_every_draft_is_a_canvas_or_a_sentence(tiny, text, length):
    said = answer(HeldCheckpoint(tiny), text, length)
    orjson.dumps(said)
    if said["k"] == "say":
        assert said["text"].endswith(".") and "\n" not in said["text"] and len(said["text"]) < 300
    else:
        masks = said["segment"]["masks"]
        assert 0 <= masks <= len(said["segment"]["tokens"]) <= 64
        if masks == 0:  # drawn to be masked by hand, since it cannot be denoised as it is
            with pytest.raises(InputError):
                runs.begin(tiny, text, length, SamplerConfig())


@pytest.mark.parametrize("length", [0, 60, 10_000])
def test_a_text_that_cannot_be_denoised_as_it_is_can_still_be_masked_by_hand(tiny, length):
    text = "The old sailor looked into the sea."
    said = answer(HeldCheckpoint(tiny), text, length)
    assert (said["k"], said["segment"]["masks"], said["segment"]["tail"]) == ("draft", 0, 0)
    assert tiny.codec.decode(said["segment"]["tokens"]) == text


# ---------------------------------------------------------------- the text box


def test_the_canvas_hands_its_text_to_the_box():
    assert take_text(gr.EventData(None, {"text": "A [MASK:3]"})) == ("A [MASK:3]", gr.skip())
    assert take_text(gr.EventData(None, {"text": "A", "tail": 7})) == ("A", 7)


@pytest.mark.parametrize("data", [None, [], "x", 5, {}, {"text": 5}, {"text": None}, {"text": ["a"]}, {"tail": "x"},
                                  {"tail": -1}, {"tail": True}, {"tail": 2.5}, {"tail": [3]}])  # fmt: skip
def test_what_is_typed_stays_when_the_canvas_sends_nothing_usable(data):
    assert take_text(gr.EventData(None, data)) == (gr.skip(), gr.skip())


# ---------------------------------------------------------------- visitors


def test_two_visitors_share_nothing(new_page):
    mine, theirs = new_page(), new_page()
    first = mine.denoise("My secret [MASK:4]", 0)
    second = theirs.denoise("Another text [MASK:4]", 0)
    assert list(mine.visit.runs) == [first.id] and list(theirs.visit.runs) == [second.id]
    assert check_refused(theirs.resume({"run": first.id, "step": 1, "cells": None}), theirs) == GONE
    assert "secret" not in json.dumps([shown.updates for shown in (second, theirs.denoise("", 4))])
    assert mine.resume({"run": first.id, "step": 1, "cells": None}).run.text() == first.run.text()


def test_runs_of_two_visitors_that_interleave_are_their_own(new_page):
    mine, theirs = new_page(), new_page()
    pair = [(mine, mine.start("The old [MASK:6]", 0)), (theirs, theirs.start("A child [MASK:6] sea", 0))]
    seen = [[], []]
    for _ in range(30):
        for index, (_, updates) in enumerate(pair):
            seen[index] += [update for update in [next(updates, None)] if update]
    for index, (page, text) in enumerate([(mine, "The old [MASK:6]"), (theirs, "A child [MASK:6] sea")]):
        assert page.watch(iter(seen[index])).run.tokens == new_page().denoise(text, 0).run.tokens


def test_a_visit_keeps_its_last_runs(page):
    ids = [page.denoise("", 2, steps=1).id for _ in range(10)]
    assert list(page.visit.runs) == ids[2:]
    assert check_refused(page.resume({"run": ids[0], "step": 0, "cells": None}), page) == GONE
    assert page.resume({"run": ids[2], "step": 0, "cells": None}).run.end["state"] == "finished"


def test_a_run_of_another_checkpoint_is_a_sentence(page):
    first = page.denoise(TEXT)
    trace = page.visit.runs[first.id]
    page.visit.runs[first.id] = replace(trace, checkpoint=trace.checkpoint | {"id": "other-mdm"})
    check_refused(page.resume({"run": first.id, "step": 1}), page, "This run was made with other-mdm")


def test_messages_of_a_run_are_found_by_its_id_only(page):
    shown = page.denoise(TEXT)
    sent: SentMessages = page.sent
    assert len(shown.id) >= 16
    for unknown in ("", "x", None, 5, ["x"], shown.id[:-1]):
        assert sent.since(unknown, 0) == "[]"
    for number in (-1, None, "2", 0.5, [1]):
        assert len(json.loads(sent.since(shown.id, number))) == len(shown.of("canvas"))
    assert sent.since(shown.id, 10**9) == "[]"
