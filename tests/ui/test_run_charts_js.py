"""Heatmap and curves are JavaScript, and are tested as such: this runs their tests under Node."""

import json
from pathlib import Path

import pytest

from ddemo import runs
from ddemo.rescoring import HAZARDOUS, final_scores, parallel_hazard
from ddemo.sampling import SamplerConfig
from ddemo.ui.examples import trace_of
from ddemo.ui.run_charts import RunCharts, source
from ddemo.ui.token_canvas.messages import Messages
from tests.test_rescoring import clashes

TESTS = Path(__file__).with_name("run_charts.test.mjs")
UI = Path(__file__).parents[2] / "ddemo" / "ui"
SCRIPTS = (UI / "token_canvas" / "model.js", UI / "run_charts" / "series.js")

READ = """
const M = require(process.argv[1]), S = require(process.argv[2]);
const message = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const run = M.runShown(M.receive(M.initial(), message).state);
const {columns} = S.matrix(run, 'written');
const curves = S.curves(run);
console.log(JSON.stringify({
  last: Array.from(columns[columns.length - 1]).map((p) => (Number.isNaN(p) ? null : p)),
  masks: Array.from(curves.masks), order: S.order(run),
}));
"""


def test_series_under_node(passes_in_node):
    passes_in_node(TESTS)


def test_the_recorded_run_reads_as_its_trace_says(run_in_node):
    trace = trace_of("classics-mdm")
    seen = json.loads(run_in_node(READ, *SCRIPTS, read=Messages("example", trace).whole()))
    written = {
        int(position): (frame.step, float(chosen))
        for frame in trace.frames
        for position, chosen in zip(frame.written, frame.chosen, strict=True)
    }
    assert len(written) > 20
    for position, p in enumerate(seen["last"]):
        assert p == (pytest.approx(written[position][1], abs=1e-3) if position in written else None)
    masks = [int((trace.tokens_at(step) == trace.mask_id).sum()) for step in range(trace.last_step + 1)]
    assert seen["masks"] == masks
    standing = {mark["at"]: mark["column"] for mark in seen["order"] if mark["stands"]}
    assert standing == {position: step for position, (step, _) in written.items()}


READ_SCORES = """
const M = require(process.argv[1]), S = require(process.argv[2]);
const message = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const run = M.runShown(M.receive(M.initial(), message).state);
const shares = [0.5, 0.95, 0.99, 1];
console.log(JSON.stringify({
  share: M.SHARE, counts: shares.map((share) => S.clashCounts(run, share)),
  ranks: S.matrix(run, 'rank').columns.map((column) => Array.from(column)),
  final: S.matrix(run, 'final').columns.map((column) => Array.from(column)),
}));
"""


@pytest.mark.parametrize("sampler", ["confidence", "remdm-cap"])
def test_what_was_worked_out_is_read_as_the_trace_has_it(run_in_node, tiny, sampler):
    config = SamplerConfig(sampler=sampler, steps=5, seed=1)
    trace = runs.begin(tiny, "The old sailor [MASK:12] into the sea, and said [MASK:14] at all.", 0, config)
    list(runs.carry_out(tiny, trace))
    trace.final_scores, trace.hazard = final_scores(tiny, trace), parallel_hazard(tiny, trace)
    seen = json.loads(run_in_node(READ_SCORES, *SCRIPTS, read=Messages("r", trace).whole()))
    assert seen["share"] == HAZARDOUS
    for share, counts in zip((0.5, 0.95, 0.99, 1.0), seen["counts"], strict=True):
        assert counts == clashes(trace.hazard, trace, share)
    assert any(row["clashing"] for row in seen["counts"][-1])
    compared = 0
    for frame in (frame for frame in trace.frames if frame.fresh):
        p, rank = trace.final_scores.at(trace, frame.step)
        for row, position in enumerate(frame.positions.tolist()):
            assert seen["ranks"][frame.step][position] == rank[row]
            assert seen["final"][frame.step][position] == pytest.approx(p[row], rel=0.005)
            compared += rank[row] > 5
    assert compared > 20, "most lie beyond the candidates kept"


def test_scripts_run_together_as_one_function_body(is_function_body):
    """Model, series, charts and the call."""
    body = RunCharts().js_on_load
    assert "mountRunCharts(element" in body
    is_function_body(body)


def test_template_is_static():
    """Gradio would run `${...}` and fill `{{...}}`, and would draw the block anew at every change."""
    assert "${" not in source("charts.html") and "{{" not in source("charts.html")
