"""A trace can be replayed, cut, kept and read back exactly; a file that is no trace is one sentence."""

import base64
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.errors import InputError
from ddemo.sampling import Clock, Lane, SamplerConfig, read_text
from ddemo.sampling.edits import clock_after_edits, edited_canvas
from ddemo.sampling.frame import ARRAYS
from ddemo.trace import (
    LARGEST_FILE,
    LONGEST_CANVAS,
    MOST_CELLS,
    MOST_FRAMES,
    MOST_SEGMENTS,
    MOST_VALUES,
    Segment,
    Trace,
)
from tests.sampling.drive import facts, row_of, run, sentence_of

CONFIG = SamplerConfig("ancestral", steps=12, seed=5, temperature=0.1 + 0.2, candidates=3)
CUT = 4  # the step after which the run is edited


@pytest.fixture(scope="module")
def story(tiny) -> tuple[Trace, list[torch.Tensor]]:
    """A run that was edited after step 4 to another length, and the canvas after each step, kept as it happened."""
    codec = tiny.codec
    canvas = read_text("The  [MASK:9] sea 👩\n[MASK:3]", 0, codec, 64)
    lane = Lane.fresh(canvas, CONFIG, codec.mask_id, number=2)
    begun = run(tiny.denoiser, [lane], None)[0][:CUT]
    trace = Trace(
        checkpoint=tiny.as_dict(),
        config=CONFIG,
        mask_id=codec.mask_id,
        segments=[Segment(canvas, Clock(0, 12))],
        frames=begun,
        lane=2,
        state="finished",
        seconds=0.1 + 0.7,
        pieces={token: codec.piece(token) for token in range(codec.vocab_size)},
        versions={"torch": "2.13.0"},
    )
    standing = trace.canvas_at(CUT)
    cells = row_of(canvas, start=1)
    cells[0]["text"] = " <b>Old</b> \u200b"
    cells[3]["mask"] = True
    cells.append({"mask": True})
    edited, edits, _ = edited_canvas(standing, cells, codec, codec.never_drawn, 64)
    clock = clock_after_edits(edited, codec.mask_id, CUT, CONFIG)
    trace.segments.append(Segment(edited, clock, tuple(edits)))
    second = Lane(edited, CONFIG, clock, 2, nfe=begun[-1].nfe)
    rest = run(tiny.denoiser, [second], None)[0]
    trace.frames = [*begun, *rest]

    after = [canvas.tokens]
    for frame in begun:
        after.append(written_on(after[-1], frame))
    after[CUT] = edited.tokens
    for frame in rest:
        after.append(written_on(after[-1], frame))
    assert len(edited) != len(canvas) and len(rest) > 2 and torch.equal(after[-1], second.tokens)
    return trace, after


def written_on(tokens: torch.Tensor, frame) -> torch.Tensor:
    """One token at a time, unlike the code under test."""
    result = tokens.clone()
    for position, token in zip(frame.written.tolist(), frame.tokens.tolist(), strict=True):
        result[position] = token
    return result


def plain(trace: Trace) -> dict:
    """Everything a trace says, as values that can be compared."""
    segments = [
        {
            **vars(segment.canvas),
            **{name: getattr(segment.canvas, name).tolist() for name in ("tokens", "fixed", "spacing")},
            "clock": segment.clock,
            "edits": segment.edits,
        }
        for segment in trace.segments
    ]
    return {**vars(trace), "segments": segments, "frames": [facts(frame) for frame in trace.frames]}


def test_tokens_at_each_step(story):
    trace, after = story
    assert trace.last_step == len(after) - 1
    for step, expected in enumerate(after):
        assert torch.equal(trace.tokens_at(step), expected)
        assert torch.equal(trace.canvas_at(step).tokens, expected)
    assert trace.nfe == trace.frames[-1].nfe


def test_the_branching_step_has_two_canvases(story):
    trace, after = story
    before = trace.tokens_at(CUT, segment=0)
    expected = trace.segments[0].canvas.tokens
    for frame in trace.frames[:CUT]:
        expected = written_on(expected, frame)
    assert torch.equal(before, expected)
    assert torch.equal(trace.tokens_at(CUT, segment=1), after[CUT]) and len(before) != len(after[CUT])
    assert trace.segment_at(CUT) is trace.segments[1] and trace.segment_at(CUT - 1) is trace.segments[0]


def test_looking_does_not_change_anything(story):
    trace, _ = story
    before = plain(trace)
    for step in range(trace.last_step + 1):
        trace.tokens_at(step).fill_(0)
        trace.cut_at(step).pieces.clear()
    assert plain(trace) == before


@pytest.mark.parametrize("step", [-1, 10**6, 10**5000, 1.0, "1", None, True, "\ud800"], ids=lambda s: ascii(type(s)))
def test_steps_that_are_none(story, step):
    trace, _ = story
    for look in (trace.tokens_at, trace.canvas_at, trace.segment_at, trace.cut_at):
        assert "so there is no step" in sentence_of(lambda look=look: look(step))


@pytest.mark.parametrize(
    "step, segment", [(0, 1), (CUT - 1, 1), (CUT + 1, 0), (1, 5), (1, -1), (1, "0"), (1, "\ud800")]
)
def test_segments_that_do_not_stand_there(story, step, segment):
    assert "has no segment" in sentence_of(lambda: story[0].tokens_at(step, segment))


def test_cutting(story):
    trace, after = story
    for step in range(trace.last_step + 1):
        cut = trace.cut_at(step)
        assert cut.last_step == step and cut.state == "stopped"
        assert len(cut.segments) == (1 if step < CUT else 2)
        assert torch.equal(cut.tokens_at(step), after[step])
        assert cut.frames == trace.frames[:step] and cut.config == trace.config
    old = trace.cut_at(CUT, segment=0)
    assert len(old.segments) == 1 and torch.equal(old.tokens_at(CUT), trace.tokens_at(CUT, segment=0))
    assert len(trace.segments) == 2 and trace.state == "finished"  # the original is whole


def test_a_trace_without_frames(story):
    empty = story[0].cut_at(0)
    assert empty.last_step == empty.nfe == 0
    assert torch.equal(empty.tokens_at(0), empty.segments[0].canvas.tokens)
    assert plain(Trace.from_json(empty.to_json())) == plain(empty)


def test_it_is_read_back_exactly(story):
    trace, after = story
    document = trace.to_json()
    again = Trace.from_json(document)
    assert plain(again) == plain(trace)
    assert again.to_json() == document
    assert torch.equal(again.tokens_at(again.last_step), after[-1])
    for one, other in zip(trace.frames, again.frames, strict=True):
        for name, kind in ARRAYS.items():
            assert getattr(other, name).dtype == kind
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_every_step_of_it_is_read_back_exactly(story):
    trace, _ = story
    for step in range(trace.last_step + 1):
        cut = replace(trace.cut_at(step), state="running")
        assert plain(Trace.from_json(cut.to_json())) == plain(cut)


def test_without_candidates(tiny):
    canvas = read_text("a [MASK:5]", 0, tiny.codec, 64)
    config = SamplerConfig(candidates=0, steps=3)
    trace = Trace(tiny.as_dict(), config, tiny.codec.mask_id, [Segment(canvas, Clock(0, 3))])
    trace.frames = run(tiny.denoiser, [Lane.fresh(canvas, config, tiny.codec.mask_id)], None)[0]
    trace.pieces = {token: tiny.codec.piece(token) for token in range(tiny.codec.vocab_size)}
    assert trace.frames[0].ids.shape == (5, 0)
    assert plain(Trace.from_json(trace.to_json())) == plain(trace)


def test_the_document_is_plain_json(story):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    document = story[0].to_json()
    document.encode()
    assert json.loads(document, parse_constant=refuse)["format"] == "ddemo-trace"
    assert "Old</b>" in document  # text is text: views escape, files do not


@pytest.mark.parametrize(
    "document",
    ["", "{", "nonsense", "{'a': 1}", "\ufeff{}", "[" * 200_000, '{"a":' * 100_000, "9" * 5000, None, 5, [], b"\xff"],
)
def test_files_that_are_not_json(document):
    assert "not JSON" in sentence_of(lambda: Trace.from_json(document))


@pytest.mark.parametrize(
    "document", ["[]", "null", "3", '"ddemo-trace"', "{}", '{"format": "other"}', '{"format": []}', "NaN"]
)
def test_json_that_is_no_trace(document):
    assert "not a trace of ddemo" in sentence_of(lambda: Trace.from_json(document))


@pytest.mark.parametrize("version", [0, 2, 99, None, True, 1.0, "1", [1], "x" * 1000, "\ud800", 10**400])
def test_other_versions(story, version):
    data = json.loads(story[0].to_json()) | {"version": version}
    message = sentence_of(lambda: Trace.from_json(json.dumps(data)))
    assert message.startswith("This trace has format version") and "reads 1" in message
    assert ("newer than this ddemo" in message) == (type(version) is int and version > 1)


def damaged(story, *path, value) -> str:
    """The sentence about the real document with one value put in."""
    data = json.loads(story[0].to_json())
    *way, last = path
    spot = data
    for key in way:
        spot = spot[key]
    assert isinstance(spot, list) or last in spot or last in ("999", "5", "400", "-1")
    spot[last] = value
    return sentence_of(lambda: Trace.from_json(json.dumps(data)), most=600)  # it may list the samplers


@pytest.mark.parametrize(
    "name",
    ["checkpoint", "config", "mask_id", "lane", "state", "seconds", "versions", "pieces", "segments", "frames"],
)
@pytest.mark.parametrize("value", [None, 1e400, -1, "x", [1], [[]], {"a": {"b": 1}}], ids=ascii)
def test_parts_of_the_wrong_kind(story, name, value):
    message = damaged(story, name, value=value)
    assert "damaged" in message or "setting" in message


@pytest.mark.parametrize("name", ["checkpoint", "config", "frames", "segments", "pieces", "state"])
def test_parts_that_are_missing(story, name):
    data = json.loads(story[0].to_json())
    del data[name]
    assert "damaged" in sentence_of(lambda: Trace.from_json(json.dumps(data)))


def array(kind, *values) -> str:
    return base64.b64encode(np.array(values, kind).tobytes()).decode()


@pytest.mark.parametrize(
    "path, value",
    [
        (("frames", 0, "step"), 2),
        (("frames", 0, "step"), "1"),
        (("frames", 0, "t"), 1.5),
        (("frames", 0, "s"), float("nan")),
        (("frames", 0, "t"), "1"),
        (("frames", 0, "nfe"), -1),
        (("frames", 0, "nfe"), 10**30),
        (("frames", 0, "nfe"), 1.5),
        (("frames", 0, "written"), array(np.int32, 64)),
        (("frames", 0, "written"), array(np.int32, -1)),
        (("frames", 0, "written"), array(np.int32, 1, 2, 3, 4, 5, 6, 7, 8)),
        (("frames", 0, "tokens"), array(np.int32)),
        (("frames", 0, "tokens"), array(np.int32, -7)),
        (("frames", 0, "tokens"), "AAA="),
        (("frames", 0, "tokens"), "not base64 at all"),
        (("frames", 0, "tokens"), 5),
        (("frames", 0, "positions"), array(np.int32, 500)),
        (("frames", 0, "positions"), ""),
        (("frames", 0, "ids"), array(np.int32, 1)),
        (("frames", 0, "ids"), array(np.int32, *[-1] * 36)),
        (("frames", 0, "entropy"), array(np.float32, 1.0)),
        (("frames", 0, "entropy"), array(np.float32, *[np.nan] * 12)),
        (("frames", 0, "probabilities"), array(np.float32, *[np.inf] * 36)),
        (("frames", 0, "chosen"), array(np.float32, 0.1, 0.2, 0.3)),
        (("frames", 0, "probabilities"), array(np.float32, *[1.5] * 36)),
        (("frames", 0, "probabilities"), array(np.float32, *[-0.5] * 36)),
        (("frames", 0, "entropy"), array(np.float32, *[-1.0] * 12)),
        (("frames", 0, "ids"), array(np.int32, *[400] * 36)),  # no such token
        (("frames", 0, "tokens"), array(np.int32, *[400] * 3)),
        (("segments", 0, "tokens", 0), 400),
        (("mask_id",), 400),
        (("pieces", "400"), "a"),
        (("pieces", "-1"), "a"),
        (("frames", 2), None),
        (("frames", 2), {}),
        (("frames",), []),  # the second segment would begin after the end
        (("segments",), []),
        (("segments", 0, "first"), 1),
        (("segments", 0, "last"), 0),
        (("segments", 0, "last"), 2),  # frames beyond the clock
        (("segments", 0, "last"), 1100),  # a run of a million steps would never give the model back
        (("segments", 0, "start"), 0),
        (("segments", 0, "start"), 1.5),
        (("segments", 1, "first"), 1000),
        (("segments", 1, "first"), 4.0),
        (("segments", 0, "tokens"), []),
        (("segments", 0, "tokens"), [[1, 2], [3, 4]]),
        (("segments", 0, "tokens"), [1, -2]),
        (("segments", 0, "tokens"), [2**40]),
        (("segments", 0, "tokens"), "abc"),
        (("segments", 0, "fixed"), [500]),
        (("segments", 0, "fixed"), [-1]),
        (("segments", 0, "fixed"), True),
        (("segments", 0, "fixed"), None),
        (("segments", 0, "spacing"), {"0": 300}),
        (("segments", 0, "spacing"), {"0": "1"}),
        (("segments", 0, "spacing"), {"x": 1}),
        (("segments", 0, "spacing"), {"500": 1}),
        (("segments", 0, "own"), {"0": 5}),
        (("segments", 0, "own"), {"500": "a"}),
        (("segments", 0, "own"), {"0": "\ud800"}),
        (("segments", 0, "forced"), [[1]]),
        (("segments", 0, "locked"), [500]),
        (("segments", 1, "edits"), ["type"]),
        (("segments", 1, "edits"), [{"edit": "type", "at": 0, "text": "\udc00"}]),
        (("segments", 1, "edits"), 5),
        (("checkpoint",), {}),
        (("checkpoint",), {"id": "\ud800"}),
        (("checkpoint", "id"), ""),
        (("checkpoint", "id"), "x" * 201),
        (("checkpoint", "id"), "two\nlines"),
        (("checkpoint", "revision"), "\u202e"),
        (("checkpoint", "device"), ""),
        (("checkpoint", "vocab_size"), "100"),  # below what is mentioned
        (("checkpoint", "vocab_size"), "0"),
        (("checkpoint", "vocab_size"), "1e3"),
        (("checkpoint", "vocab_size"), "9" * 5000),
        (("checkpoint", "vocab_size"), 400),
        (("checkpoint", "max_length"), "-1"),
        (("checkpoint", "max_length"), "8"),  # shorter than the canvas
        (("checkpoint", "process"), "other"),
        (("versions",), {"\ud800": "1"}),
        (("pieces", "5"), 2_000_000_000),  # bytes(n) would be that many zeros
        (("pieces", "5"), [300]),
        (("pieces", "5"), "\ud800"),
        (("pieces", "5"), None),
        (("config", "steps"), 0),
        (("config", "sampler"), "nothing"),
        (("state",), "unheard of"),
        (("mask_id",), 1.0),
        (("seconds",), float("inf")),
    ],
    ids=ascii,
)
def test_values_that_no_run_can_have(story, path, value):
    damaged(story, *path, value=value)


@pytest.mark.parametrize("name", ["written", "positions", "tokens", "ids"])
def test_a_number_out_of_range_in_an_array_of_the_right_length(story, name):
    trace, _ = story
    index, frame = next((at, frame) for at, frame in enumerate(trace.frames) if frame.fresh and len(frame.written))
    places, words = len(trace.segments[0].canvas), int(trace.checkpoint["vocab_size"])
    numbers = getattr(frame, name).copy()
    for wrong in (-1, places if name in ("written", "positions") else words):
        numbers.flat[-1] = wrong
        assert "damaged" in damaged(story, "frames", index, name, value=array(np.int32, *numbers.ravel()))


def test_a_token_that_is_not_spelt(story):
    data = json.loads(story[0].to_json())
    token = str(int(story[0].frames[0].ids[0, 0]))
    assert data["pieces"].pop(token) is not None
    assert "damaged" in sentence_of(lambda: Trace.from_json(json.dumps(data)))


@pytest.mark.parametrize("name", ["id", "revision", "device", "vocab_size", "max_length"])
def test_a_checkpoint_must_say_what_views_read(story, name):
    data = json.loads(story[0].to_json())
    del data["checkpoint"][name]
    assert "damaged: KeyError" in sentence_of(lambda: Trace.from_json(json.dumps(data)))


def test_positions_with_unequal_numbers_of_candidates(story):
    data = json.loads(story[0].to_json())
    fresh = next(frame for frame in data["frames"][1:] if frame["positions"])
    rows = len(base64.b64decode(fresh["positions"])) // 4
    fresh["ids"], fresh["probabilities"] = array(np.int32, *[5] * rows), array(np.float32, *[0.5] * rows)
    assert "damaged: ValueError" in sentence_of(lambda: Trace.from_json(json.dumps(data)))


def test_settings_say_what_is_wrong_with_them(story):
    assert damaged(story, "config", "steps", value=0).startswith("This trace is damaged: steps must be a whole")


# ---------------------------------------------------------------- files that are too large


def refused_quickly(document: str) -> str:
    """The sentence, given before much is built: at most a few times what the document itself takes."""
    tracemalloc.start()
    try:
        sentence = sentence_of(lambda: Trace.from_json(document))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 50_000_000
    return sentence


def test_a_file_of_too_many_characters():
    assert "larger than any trace" in refused_quickly('{"format": "ddemo-trace", "x": "' + "a" * LARGEST_FILE + '"}')


@pytest.mark.parametrize("part", ["[],", "{},", "0,", '"a",'])
def test_a_file_of_very_many_small_values(part):
    assert "larger than any trace" in refused_quickly("[" + part * (MOST_VALUES + 1) + "0]")


def test_a_run_of_too_many_steps_segments_or_tokens(story):
    data = json.loads(story[0].to_json())
    empty = dict.fromkeys(ARRAYS, "") | {"t": 1.0, "s": 1.0, "nfe": 0}
    many = [empty | {"step": step} for step in range(1, MOST_FRAMES + 2)]
    long = data["segments"][0] | {"tokens": [1] * LONGEST_CANVAS}
    for damage in (
        {"frames": many},
        {"segments": data["segments"][:1] * (MOST_SEGMENTS + 1)},
        {"segments": [data["segments"][0] | {"tokens": [1] * (LONGEST_CANVAS + 1)}]},
        {"segments": [long], "frames": many[: MOST_CELLS // LONGEST_CANVAS + 1]},
    ):
        sentence = refused_quickly(json.dumps(data | damage))
        assert sentence.startswith("This trace is damaged: it has ") and "more than a run has" in sentence


HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 10**400, 0.5, -1.0, 1e308, float("nan"), float("inf")]),
    st.sampled_from(["", "x", "1", "\ud800", "AAAA", "AAAAAA==", "[MASK]", "<b>"]),
    st.sampled_from([[], {}, [0], [[0]], {"0": 0}, {"a": None}, [None], [{}]]),
)


def spots(node, way=()) -> list[tuple]:
    """The way to every value of a JSON document."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = [way] if way else []
    for key, value in inner:
        found += spots(value, (*way, key))
    return found


@pytest.fixture(scope="module")
def written(story) -> str:
    """A short document, so that a mutation often hits what matters."""
    trace = story[0]
    mentioned = {token for frame in trace.frames for token in (*frame.ids.ravel().tolist(), *frame.tokens.tolist())}
    mentioned |= {token for segment in trace.segments for token in segment.canvas.tokens.tolist()}
    return replace(trace, pieces={token: b"\xff" if token % 2 else b"a" for token in mentioned}).to_json()


def usable(trace: Trace) -> None:
    """What a page does with a trace that was loaded."""
    for step in range(trace.last_step + 1):
        trace.tokens_at(step)
        trace.cut_at(step)
        assert step <= trace.segment_at(step).clock.last
    assert all(0 <= frame.s <= 1 and 0 <= frame.t <= 1 for frame in trace.frames)
    trace.to_json().encode()
    assert plain(Trace.from_json(trace.to_json())) == plain(trace)


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_a_damaged_document_is_a_sentence_or_a_usable_trace(written, data):
    document = json.loads(written)
    for _ in range(data.draw(st.integers(1, 2))):
        *way, last = data.draw(st.sampled_from(spots(document)))
        node = document
        for key in way:
            node = node[key]
        if data.draw(st.booleans()):
            del node[last]
        else:
            node[last] = data.draw(HOSTILE)
    try:
        trace = Trace.from_json(json.dumps(document))
    except InputError as problem:
        str(problem).encode()
    else:
        usable(trace)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_characters_are_a_sentence_or_a_usable_trace(written, data):
    place = data.draw(st.integers(0, len(written)))
    length = data.draw(st.sampled_from([0, 1, 2, 5, len(written)]))
    damage = data.draw(
        st.sampled_from(["", "0", "9", "-", '"', "}", "]", ",", "e5", "null", "\\", "\\ud800", "\0", "A"])
    )
    try:
        trace = Trace.from_json(written[:place] + damage + written[place + length :])
    except InputError as problem:
        str(problem).encode()
    else:
        usable(trace)
