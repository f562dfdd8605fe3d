"""The code that the page hands out is run here, and writes the tokens of the run that it is about."""

import ast
import contextlib
import io
import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo import runs
from ddemo.errors import InputError
from ddemo.sampling import SamplerConfig
from ddemo.snippets import literal, snippets_of
from ddemo.trace import Trace
from tests.sampling.drive import row_of
from tests.ui.conftest import HeldCheckpoint
from tests.ui.server import serve

ADDRESS = "http://127.0.0.1:7860/"
FILE = "ddemo-tiny-mdm-confidence-seed3.json"
NASTY = "\"a\" 'b' \\ \n{x} ${x} \u202e👩‍🚀 The old sailor looked into the sea, and said nothing at all. "
CASES = [
    ("The old sailor", 9, SamplerConfig(steps=6, seed=7)),
    ("", 5, SamplerConfig("ancestral", steps=5, seed=2**53 - 1, temperature=0.1 + 0.2, top_k=40)),
    ("The [MASK:3] sea, and [MASK] said", 0, SamplerConfig("remdm-cap", steps=7, seed=1, top_p=0.9)),
    (NASTY + "[MASK:2]", 0, SamplerConfig(steps=2, seed=4, draw="argmax")),
]


@pytest.fixture(scope="module")
def address(tiny):
    with serve(HeldCheckpoint(tiny)) as served:
        yield served.url + "/"


@pytest.fixture
def beside(tiny, tiny_directory, monkeypatch, tmp_path):
    """A directory where the tiny checkpoint is found by its id, as a shipped one is anywhere."""
    (tmp_path / tiny.id).symlink_to(tiny_directory)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finished(tiny, text, length, config) -> Trace:
    trace = runs.begin(tiny, text, length, config)
    list(runs.carry_out(tiny, trace))
    return trace


def tokens_of(trace: Trace) -> list[int]:
    return trace.tokens_at(trace.last_step).tolist()


def carried_out(code: str) -> list[int]:
    """What a program prints in its last line."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
    return ast.literal_eval(said.getvalue().splitlines()[-1])


@pytest.mark.parametrize("text, length, config", CASES, ids=lambda value: ascii(value)[:30])
def test_the_package_writes_the_same_tokens(tiny, beside, text, length, config):
    trace = finished(tiny, text, length, config)
    made = snippets_of(trace, ADDRESS, FILE)
    assert made.note == "" and carried_out(made.package) == tokens_of(trace)


@pytest.mark.parametrize("text, length, config", CASES, ids=lambda value: ascii(value)[:30])
def test_the_client_gets_the_same_tokens(tiny, address, text, length, config, capfd):
    trace = finished(tiny, text, length, config)
    assert carried_out(snippets_of(trace, address, FILE).client) == tokens_of(trace)


def edited(tiny) -> Trace:
    first = finished(tiny, "The old [MASK:6] sea", 0, SamplerConfig(steps=6, seed=3))
    cells = row_of(first.segments[0].canvas)
    cells[1] = {"from": 1, "text": " grey"}
    cells[4]["mask"] = True
    trace = runs.proceed(tiny, first, 3, cells)
    list(runs.carry_out(tiny, trace))
    assert tokens_of(trace) != tokens_of(first)
    return trace


def test_a_run_that_was_edited_needs_its_file(tiny, beside):
    trace = edited(tiny)
    made = snippets_of(trace, ADDRESS, FILE)
    (beside / FILE).write_text(trace.to_json(), encoding="utf-8")
    assert carried_out(made.package) == tokens_of(trace)
    assert "edited on the way" in made.note and "the second gives the run before them" in made.note


def test_the_client_of_an_edited_run_gives_the_run_before(tiny, address):
    before = finished(tiny, "The old [MASK:6] sea", 0, SamplerConfig(steps=6, seed=3))
    assert carried_out(snippets_of(edited(tiny), address, FILE).client) == tokens_of(before)


def test_another_lane_is_read_from_its_file(tiny, beside):
    trace = runs.begin(tiny, "The old [MASK:6] sea", 0, SamplerConfig(steps=6, seed=3))
    trace.lane = 2
    list(runs.carry_out(tiny, trace))
    (beside / FILE).write_text(trace.to_json(), encoding="utf-8")
    made = snippets_of(trace, ADDRESS, FILE)
    assert carried_out(made.package) == tokens_of(trace) and "several lanes" in made.note


def test_a_run_that_was_stopped_is_carried_to_its_end(tiny, beside):
    whole = finished(tiny, *CASES[0])
    made = snippets_of(whole.cut_at(2), ADDRESS, FILE)
    assert made.note == "This run ended early, at step 2; the code carries it out to its end."
    assert carried_out(made.package) == tokens_of(whole)


def test_other_weights_are_not_run_in_silence(tiny, beside):
    trace = finished(tiny, *CASES[0])
    trace.checkpoint = trace.checkpoint | {"revision": "0123456789ab"}
    with pytest.raises(AssertionError, match="other weights"):
        carried_out(snippets_of(trace, ADDRESS, FILE).package)


def test_what_a_file_names_stays_a_text(tiny):
    """A trace comes from anybody: names in it must not become code."""
    evil = "x\")\nimport os\nos.abort() #'"
    trace = finished(tiny, *CASES[0])
    trace.checkpoint = trace.checkpoint | dict.fromkeys(("id", "revision", "device", "dtype"), evil)
    trace.segments[0].canvas.own[0] = evil
    made = snippets_of(trace, ADDRESS, evil)
    for code in (made.package, made.client):
        tree = ast.parse(code)
        imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        assert not imported and "abort" not in {getattr(node, "attr", "") for node in ast.walk(tree)}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
@settings(max_examples=300, deadline=None)
def test_a_literal_is_its_text_and_hides_nothing(text):
    written = literal(text)
    assert ast.literal_eval(written) == text
    assert all(character.isprintable() or character == "\n" for character in written)
    assert max(map(len, written.splitlines())) <= 10 * 80 and ("\n" in written) == (len(text) > 78)


@pytest.mark.parametrize("address", [None, 5, "", "ftp://a", "http://", "http://a b", "http://a\nimport os"])
def test_an_address_that_is_none(tiny, address):
    with pytest.raises(InputError, match="address of a page begins with"):
        snippets_of(finished(tiny, *CASES[0]), address, FILE)
