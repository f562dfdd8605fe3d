"""The lanes view is JavaScript, and is tested as such: this runs its tests under Node."""

import json
from pathlib import Path

import pytest

from ddemo import runs
from ddemo.measures import agreement
from ddemo.sampling import SamplerConfig
from ddemo.ui.lanes import LaneView, source
from ddemo.ui.lanes.messages import LaneMessages, ShownLane

TESTS = Path(__file__).with_name("lanes.test.mjs")
UI = Path(__file__).parents[2] / "ddemo" / "ui"
TEXT = "The old sailor [MASK:6] into the sea, and said [MASK:4] at all."

READ = """
const L = require(process.argv[1]), M = require(process.argv[2]);
const message = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const {state, warning} = L.receive(L.initial(), message);
const {values, given, mean} = L.agreement(state);
const known = (x) => (Number.isNaN(x) ? null : x);
console.log(JSON.stringify({
  warning, values: Array.from(values, known), given: Array.from(given), mean: known(mean), partings: state.partings,
  tokens: state.lanes.map((lane) => Array.from(M.stopShown(lane.canvas).tokens)), last: L.lastIndex(state),
}));
"""

ARGMAX, SAMPLES = {"draw": "argmax"}, [{"seed": seed} for seed in (3, 4, 5)]
CASES = {
    "argmax and samples": [ARGMAX, *SAMPLES],
    "the same twice": [ARGMAX, ARGMAX],
    "different steps": [{"draw": "argmax", "steps": steps} for steps in (2, 5, 8)],
    "a sampler that masks again": [{"sampler": "remdm-rescale", "seed": seed, "steps": 12} for seed in (1, 2)],
}


def test_model_under_node(passes_in_node):
    passes_in_node(TESTS)


@pytest.mark.parametrize("case", CASES)
def test_agreement_and_partings_are_those_of_the_measures(run_in_node, tiny, case):
    traces = [runs.begin(tiny, TEXT, 0, SamplerConfig(**{"steps": 8} | lane)) for lane in CASES[case]]
    for _ in runs.carry_out_together(tiny, traces):
        pass
    lanes = [ShownLane(str(index), "", "", trace) for index, trace in enumerate(traces)]
    files = (UI / "lanes" / "model.js", UI / "token_canvas" / "model.js")
    whole = LaneMessages("c", "", "", lanes).whole()
    seen, true = json.loads(run_in_node(READ, *files, read=whole)), agreement(traces)
    assert seen["warning"] == "" and not true.why
    assert seen["last"] == max(trace.last_step for trace in traces)
    assert seen["tokens"] == [trace.tokens_at(trace.last_step).tolist() for trace in traces]
    assert seen["values"] == pytest.approx(true.positions)
    assert seen["given"] == traces[0].segments[0].canvas.fixed.int().tolist()
    assert seen["mean"] == pytest.approx(true.mean)
    for name in ("parted", "clashed"):
        place = getattr(true, name)
        assert seen["partings"][name] == (place and {"step": place.step, "at": place.position}), name
    assert (true.parted is None) == (case == "the same twice")
    assert true.clashed or case in ("the same twice", "different steps")


def test_scripts_run_together_as_one_function_body(is_function_body):
    """Both models, the sheet, the view and the call."""
    body = LaneView().js_on_load
    assert "mountLanes(element" in body
    is_function_body(body)


def test_the_component_has_no_template_that_could_run_text():
    """Gradio evaluates `${}` of a template, and fills `{{}}` into it: the view has neither."""
    assert "ddn-" in source("lanes.html") and "${" not in source("lanes.html") and "{{" not in source("lanes.html")
    scripts = source("model.js") + source("view.js")
    assert "innerHTML" not in scripts and "insertAdjacentHTML" not in scripts and "eval(" not in scripts
