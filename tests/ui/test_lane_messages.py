"""Messages of a comparison: each lane's part is what its own canvas would be told, and nothing is lost on the way."""

import json

import pytest

from ddemo import runs
from ddemo.sampling import SamplerConfig
from ddemo.ui.lanes import LaneView
from ddemo.ui.lanes.messages import LaneMessages, ShownLane
from tests.ui.reader import Reader

TEXT = "The old sailor [MASK:6] into the sea, and said [MASK:4] at all."
HOSTILE = '</script><b>${x}{{y}} <!-- "\\\u2028'


def begun(checkpoint, text=TEXT, **settings) -> ShownLane:
    trace = runs.begin(checkpoint, text, 0, SamplerConfig(**{"steps": 6, "seed": 3} | settings))
    return ShownLane(f"seed {trace.config.seed}", "a line", "samples", trace)


def stream(checkpoint, messages: LaneMessages) -> list[str]:
    """All messages of a comparison that is carried out meanwhile."""
    places = {id(lane.trace): index for index, lane in enumerate(messages.lanes) if lane.trace}
    traces = [lane.trace for lane in messages.lanes if lane.trace]
    sent = [messages.open()]
    for turn in runs.carry_out_together(checkpoint, traces):
        sent.append(messages.turn([(places[id(trace)], frame) for trace, frame in turn]))
    sent += [messages.ended(places.values()), messages.end()]
    return sent


def lane_parts(sent: list[str], index: int) -> list[dict]:
    """What a lane's own canvas is told."""
    told = []
    for message in map(json.loads, sent):
        if message["k"] == "lanes":
            told.append(message["lanes"][index]["m"])
        told += [inner for lane, inner in message.get("of", []) if lane == index]
    return told


def test_each_lane_is_a_run_that_the_canvas_could_read(tiny):
    lanes = [begun(tiny), begun(tiny, seed=4), begun(tiny, steps=3, draw="argmax")]
    sent = stream(tiny, LaneMessages("c", "Title", "Question?", lanes))
    assert [json.loads(message)["n"] for message in sent] == list(range(len(sent)))
    assert {json.loads(message)["run"] for message in sent} == {"c"}
    head = json.loads(sent[0])
    assert head["head"] == {"title": "Title", "question": "Question?"}
    assert head["lanes"][1] == {"label": "seed 4", "about": "a line", "group": "samples", "m": head["lanes"][1]["m"]}
    for index, lane in enumerate(lanes):
        reader = Reader()
        for part in lane_parts(sent, index):
            assert part["run"] == f"c/{index}"
            reader.take(json.dumps(part))
        assert len(reader.last.steps) == lane.trace.last_step == lane.trace.config.steps
        assert reader.last.steps[-1].tokens == lane.trace.tokens_at(lane.trace.last_step).tolist()
        assert reader.last.text() == runs.summary(tiny, lane.trace)["text"]
    assert len(lane_parts(sent, 2)) == 1 + 3 + 1, "a lane that is done is not spoken of"


def test_whole_is_what_was_streamed(tiny):
    lanes = [begun(tiny), begun(tiny, seed=4, steps=4)]
    sent = stream(tiny, LaneMessages("c", "Title", "", lanes))
    measures = {"lanes": [{"nfe": {"number": 6, "error": None, "why": ""}}, {}], "groups": []}
    whole = json.loads(LaneMessages("c", "Title", "", lanes).whole(measures, ["So it is."]))
    assert (whole["k"], whole["run"]) == ("whole", "c")
    parts = [json.dumps(part) for part in whole["m"]]
    assert [part["n"] for part in whole["m"]] == list(range(len(parts)))
    for index in (0, 1):
        assert lane_parts(parts, index) == lane_parts(sent, index)
    assert whole["m"][-2] | {"n": 0} == {
        "k": "measures", "run": "c", "n": 0, "measures": measures, "sentences": ["So it is."],
    }  # fmt: skip
    assert whole["m"][-1]["state"] == "finished"
    assert "measures" not in [part["k"] for part in json.loads(LaneMessages("c", "", "", lanes).whole())["m"]]


def test_a_lane_that_could_not_begin_says_why_and_the_others_are_there(tiny):
    lanes = [ShownLane("hot", "", "", None, "The temperature is too high."), begun(tiny)]
    sent = stream(tiny, LaneMessages("c", "", "", lanes))
    first = json.loads(sent[0])["lanes"]
    assert first[0]["say"] == "The temperature is too high." and "m" not in first[0]
    assert {lane for message in sent for lane, _ in json.loads(message).get("of", [])} == {1}
    whole = json.loads(LaneMessages("c", "", "", lanes).whole())
    assert whole["m"][-1]["state"] == "finished" and whole["m"][0]["lanes"] == first


def test_how_lanes_ended_is_said(tiny):
    failed, stopped = begun(tiny), begun(tiny, seed=4)
    failed.trace.state, stopped.trace.state = "failed", "stopped"
    messages = LaneMessages("c", "", "", [failed, stopped])
    told = json.loads(messages.ended([0], "It broke."))
    assert [(lane, inner["k"], inner["state"], inner["say"]) for lane, inner in told["of"]] == [
        (0, "end", "failed", "It broke.")
    ]
    assert json.loads(LaneMessages("c", "", "", [failed, stopped]).whole())["m"][-1]["state"] == "stopped"
    assert json.loads(LaneMessages("c", "", "", [failed]).whole())["m"][-1]["state"] == "failed"
    kept = ShownLane("a", "", "", failed.trace, "It broke.")
    assert lane_parts([LaneMessages("c", "", "", [kept]).ended([0])], 0)[0]["say"] == "It broke."


def test_other_messages(tiny):
    messages = LaneMessages("c", HOSTILE, HOSTILE, [begun(tiny, text=f"{HOSTILE} [MASK:2]")])
    assert json.loads(messages.open())["head"]["title"] == HOSTILE
    assert json.loads(messages.measuring(3, 10)) == {"k": "measuring", "run": "c", "n": 1, "done": 3, "all": 10}
    assert json.loads(messages.end("failed", "No.")) == {
        "k": "end",
        "run": "c",
        "n": 2,
        "state": "failed",
        "say": "No.",
    }


def test_what_is_no_lane_is_refused(tiny):
    with pytest.raises(ValueError, match="problem"):
        ShownLane("a", "", "", None)
    trace = begun(tiny).trace
    trace.segments.append(trace.segments[0])
    with pytest.raises(ValueError, match="2 segments"):
        ShownLane("a", "", "", trace)


def test_the_component_passes_messages_on_as_they_are():
    view = LaneView()
    assert view.postprocess(HOSTILE) == HOSTILE
