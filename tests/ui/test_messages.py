"""Messages to the browser: a reader that knows only the format gets back what the trace holds."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from ddemo import runs
from ddemo.denoisers import load_checkpoint
from ddemo.rescoring import final_scores, final_scores_cost, hazard_cost, parallel_hazard
from ddemo.sampling import SamplerConfig, read_text
from ddemo.sampling.samplers import of_process
from ddemo.trace import Trace
from ddemo.ui.token_canvas import HERE as CANVAS
from ddemo.ui.token_canvas.messages import Messages, draft, say
from tests.ui.reader import Reader, ReadRun, entropy_bound, probability_bound

TEXT = "The old sailor [MASK:6] into the sea, and said [MASK:4] at all."
HOSTILE = '</script><b>${x}{{y}} <!-- "\\\u2028\u200b😀שלום'


def stream(checkpoint, run: str, trace: Trace, reader: Reader) -> list[str]:
    """All messages of a run that is carried out meanwhile, read as they come."""
    messages = Messages(run, trace)
    sent = [messages.open()]
    sent += [messages.frame(frame) for frame in runs.carry_out(checkpoint, trace)]
    sent.append(messages.end())
    for message in sent:
        reader.take(message)
    return sent


def begun(checkpoint, text=TEXT, length=0, **settings) -> Trace:
    return runs.begin(checkpoint, text, length, SamplerConfig(**{"steps": 8, "seed": 3} | settings))


def check(read: ReadRun, trace: Trace) -> None:
    """What was read is what the trace holds, candidates and entropies to the stated bounds."""
    assert len(read.steps) == len(trace.frames) > 0
    for stop in read.stops:
        if stop.segment is None:
            continue
        index = [segment.clock.first for segment in trace.segments].index(stop.step)
        segment = trace.segments[index]
        assert stop.tokens == segment.canvas.tokens.tolist()
        assert stop.segment["fixed"] == segment.canvas.fixed.nonzero().squeeze(-1).tolist()
        assert stop.segment["forced"] == sorted(segment.canvas.forced)
        assert stop.segment["locked"] == sorted(segment.canvas.locked)
        assert {int(at): text for at, text in stop.segment["own"].items()} == segment.canvas.own
        assert stop.segment["t"] == segment.clock.start
    for stop, frame in zip(read.steps, trace.frames, strict=True):
        index = max(i for i, segment in enumerate(trace.segments) if segment.clock.first < frame.step)
        assert stop.tokens == trace.tokens_at(frame.step, index).tolist()
        assert [(at, token) for at, token, _ in stop.written] == list(
            zip(frame.written.tolist(), frame.tokens.tolist(), strict=True)
        )
        assert [p for _, _, p in stop.written] == pytest.approx(frame.chosen.tolist(), abs=0.5e-4 + 1e-6)
        assert stop.t == pytest.approx(frame.s, abs=1e-6) and stop.nfe == frame.nfe
        assert list(stop.look) == frame.positions.tolist()
        for row, (entropy, ids, probabilities) in enumerate(stop.look.values()):
            assert ids == frame.ids[row].tolist()
            assert abs(entropy - frame.entropy[row]) <= entropy_bound(read.head["hmax"])
            for got, meant in zip(probabilities, frame.probabilities[row].tolist(), strict=True):
                assert abs(got - meant) <= probability_bound(meant)
    mentioned = {token for stop in read.stops for token in stop.tokens}
    mentioned |= {token for stop in read.steps for _, ids, _ in stop.look.values() for token in ids}
    assert mentioned <= set(read.vocab)
    assert all(read.vocab[token] == trace.pieces[token] for token in mentioned)


# ---------------------------------------------------------------- a run as it comes


@pytest.mark.parametrize("sampler", ["confidence", "ancestral"])
@pytest.mark.parametrize("draw", ["sample", "argmax"])
def test_a_streamed_run_is_the_trace(tiny, sampler, draw):
    trace, reader = begun(tiny, sampler=sampler, draw=draw), Reader()
    stream(tiny, "r", trace, reader)
    check(reader.last, trace)
    assert reader.last.text() == runs.summary(tiny, trace)["text"]
    assert reader.last.end["state"] == "finished" and reader.last.end["seconds"] == round(trace.seconds, 3)


def test_the_head_says_how_to_read_what_follows(tiny):
    trace = begun(tiny, temperature=0.7, steps=9)
    head = json.loads(Messages("r", trace, "a note").open())["head"]
    assert head == {
        "checkpoint": tiny.id,
        "device": "cpu",
        "mask": tiny.codec.mask_id,
        "limit": 64,
        "steps": 9,
        "noise": "absorbing",
        "rewrites": False,
        "sampler": "LLaDA, low confidence",
        "draw": "sample",
        "temperature": 0.7,
        "seed": 3,
        "note": "a note",
        "k": 5,
        "id_bytes": 2,
        "hmax": pytest.approx(np.log(tiny.codec.vocab_size), abs=1e-4),
        "vocab_size": tiny.codec.vocab_size,
        "settings": trace.config.as_dict(),
    }
    assert json.loads(Messages("r", begun(tiny, temperature=0.0)).open())["head"]["draw"] == "argmax"


def test_a_step_that_changed_nothing_sends_no_prediction(tiny):
    trace, reader = begun(tiny, sampler="ancestral", steps=32, seed=1), Reader()
    sent = [json.loads(message) for message in stream(tiny, "r", trace, reader)]
    stale = [message for message in sent if message["k"] == "frame" and not message["fresh"]]
    assert 0 < len(stale) < len(trace.frames)
    assert all(set(message) == {"k", "run", "n", "step", "t", "nfe", "set", "fresh"} | set(message) & {"vocab"} for
               message in stale)  # fmt: skip
    assert [stop.step for stop in reader.last.steps if not stop.look] == [message["step"] for message in stale]
    check(reader.last, trace)


def test_without_candidates_a_frame_is_small(tiny):
    trace, reader = begun(tiny, candidates=0), Reader()
    without = stream(tiny, "r", trace, reader)
    check(reader.last, trace)
    assert reader.last.head["k"] == 0
    with_them = stream(tiny, "s", begun(tiny), Reader())
    positions = sum(len(frame.positions) for frame in trace.frames)
    assert sum(map(len, with_them)) - sum(map(len, without)) > 5 * (2 + 1) * positions


def test_a_frame_costs_a_fixed_number_of_bytes_a_position(tiny):
    """Base64 of one byte of entropy and five times two of id and one of probability: 21.4 characters a position."""
    trace = begun(tiny, "", 64, steps=32)
    for message in stream(tiny, "r", trace, Reader())[1:-1]:
        data = json.loads(message)
        positions = len(trace.frames[data["step"] - 1].positions)
        data.pop("vocab", None)
        assert len(json.dumps(data, separators=(",", ":"))) <= 160 + 21.4 * positions + 24 * len(data["set"])


def test_large_vocabularies_have_ids_of_four_bytes(tiny):
    reader, trace = Reader(), begun(tiny)
    trace.checkpoint = trace.checkpoint | {"vocab_size": "128256"}
    list(runs.carry_out(tiny, trace))
    frame = trace.frames[0]
    trace.frames[0] = replace(frame, ids=np.where(frame.ids == frame.ids[0, 0], 128_000, frame.ids).astype(np.int32))
    trace.pieces[128_000] = b" far"
    messages = Messages("r", trace)
    for message in [messages.open(), *(messages.frame(frame) for frame in trace.frames)]:
        reader.take(message)
    assert reader.last.head["id_bytes"] == 4
    check(reader.last, trace)


def test_positions_are_listed_where_they_are_not_all_the_masked_ones(tiny):
    """A denoiser may be asked at some of the masks only, as block by block."""
    trace, reader = begun(tiny), Reader()
    list(runs.carry_out(tiny, trace))
    whole = trace.frames[0]
    some = {name: getattr(whole, name)[2:5] for name in ("positions", "entropy", "ids", "probabilities")}
    trace.frames[0] = replace(whole, **some)
    messages = Messages("r", trace)
    reader.take(messages.open())
    first = messages.frame(trace.frames[0])
    assert json.loads(first)["at"] == whole.positions[2:5].tolist()
    for message in [first, *(messages.frame(frame) for frame in trace.frames[1:])]:
        reader.take(message)
    check(reader.last, trace)


@pytest.mark.parametrize(("sampler", "at"), [("p2", "free"), ("remdm-loop", None), ("confidence", None)])
def test_where_the_model_looked_is_said_without_a_list(tiny, sampler, at):
    trace, reader = begun(tiny, sampler=sampler), Reader()
    frames = [json.loads(message) for message in stream(tiny, "r", trace, reader)][1:-1]
    check(reader.last, trace)
    told = [frame["at"] for frame in frames if frame["fresh"]]
    assert told[0] is None and set(told[1:]) <= {None, at} and at in told  # at first all that is free is masked


@pytest.mark.parametrize("sampler", [sampler.name for sampler in of_process("uniform")])
def test_a_run_of_uniform_noise_is_the_trace(sampler):
    world, reader = load_checkpoint("exact-world-uniform"), Reader()
    trace = begun(world, "The queen", 4, sampler=sampler)
    frames = [json.loads(message) for message in stream(world, "r", trace, reader)][1:-1]
    check(reader.last, trace)
    assert {frame["at"] for frame in frames} == {"free"}
    assert reader.last.head["rewrites"] is True and reader.last.stops[0].segment["masks"] == 0


@pytest.mark.parametrize("sampler", [sampler.name for sampler in of_process("gaussian")])
def test_a_run_of_latents_is_the_trace(tiny_latent, sampler):
    reader, trace = Reader(), begun(tiny_latent, sampler=sampler)
    frames = [json.loads(message) for message in stream(tiny_latent, "r", trace, reader)][1:-1]
    check(reader.last, trace)
    assert {frame["at"] for frame in frames} == {"free"}
    assert reader.last.head["rewrites"] is True and reader.last.head["draw"] is None
    assert reader.last.head["noise"] == "gaussian" and reader.last.stops[0].segment["masks"] == 0
    for told, frame in zip(frames, trace.frames, strict=True):
        for name, numbers in (("near", frame.distance), ("lead", frame.margin)):
            assert np.allclose(np.frombuffer(base64.b64decode(told[name]), "<u2") / 100, numbers, atol=0.0051)


def test_an_edited_run_of_latents_says_where_each_position_stood(tiny_latent):
    trace, reader = begun(tiny_latent, sampler="ddpm"), Reader()
    stream(tiny_latent, "r", trace, reader)
    row = [{"mask": True}, *({"from": position} for position in range(1, len(trace.canvas_at(3))))]
    branch = runs.proceed(tiny_latent, trace, 3, row)
    told = json.loads(Messages("s", branch).branch("r", 3, True, 0))["segment"]
    assert told["from"] == list(branch.segments[-1].kept) and len(told["from"]) == len(told["tokens"])


def test_a_sampler_that_is_greedy_by_definition_is_no_argmax_draw(tiny):
    drawn = {
        name: json.loads(Messages("r", begun(tiny, sampler=name, draw=draw)).open())["head"]["draw"]
        for name, draw in [("confidence", "argmax"), ("posterior-argmax", "sample"), ("plug-in", "argmax")]
    }
    assert drawn == {"confidence": "argmax", "posterior-argmax": None, "plug-in": None}


def test_bytes_that_are_no_text_of_their_own_come_as_numbers(tiny):
    trace, reader = begun(tiny, "A 😀 [MASK:2]"), Reader()
    sent = stream(tiny, "r", trace, reader)
    pieces = json.loads(sent[0])["vocab"]
    assert any(isinstance(piece, list) for piece in pieces.values()), "the tiny tokenizer has no token for an emoji"
    assert reader.last.text() == runs.summary(tiny, trace)["text"]
    assert reader.last.text().startswith("A 😀")


# ---------------------------------------------------------------- going on


def edited(checkpoint, trace: Trace, step: int) -> list[dict]:
    """A row with one token typed over, one mask more and one fewer."""
    row = [{"from": position} for position in range(len(trace.canvas_at(step)))]
    masked = trace.canvas_at(step).masks(trace.mask_id).tolist()
    row[0] = {"from": 0, "text": "Those"}
    row[masked[0] : masked[0]] = [{"mask": True}, {"mask": True}]
    del row[-1]
    return row


def test_a_branch_without_edits_keeps_what_the_browser_has(tiny):
    trace, reader = begun(tiny, sampler="ancestral", steps=12), Reader()
    stream(tiny, "first", trace, reader)
    branch = runs.proceed(tiny, trace, 4, None)
    messages = Messages("second", branch)
    reader.take(messages.branch("first", 4, False, None))
    for frame in runs.carry_out(tiny, branch):
        reader.take(messages.frame(frame))
    reader.take(messages.end())
    check(reader.last, branch)
    assert reader.last.text() == reader.runs["first"].text()


def test_a_branch_with_edits_begins_a_segment_of_another_length(tiny):
    trace, reader = begun(tiny), Reader()
    stream(tiny, "first", trace, reader)
    branch = runs.proceed(tiny, trace, 4, edited(tiny, trace, 4))
    messages = Messages("second", branch)
    first = messages.branch("first", 4, True, None)
    assert json.loads(first)["segment"]["step"] == 4
    assert json.loads(first)["head"]["steps"] == branch.segments[-1].clock.last
    reader.take(first)
    for frame in runs.carry_out(tiny, branch):
        reader.take(messages.frame(frame))
    reader.take(messages.end())
    check(reader.last, branch)
    lengths = {len(stop.tokens) for stop in reader.last.stops}
    assert len(lengths) == 2
    assert reader.last.text() == runs.summary(tiny, branch)["text"] != reader.runs["first"].text()


def test_a_branch_of_a_branch_from_the_canvas_before_the_edit(tiny):
    trace, reader = begun(tiny), Reader()
    stream(tiny, "first", trace, reader)
    branch = runs.proceed(tiny, trace, 4, edited(tiny, trace, 4))
    messages = Messages("second", branch)
    reader.take(messages.branch("first", 4, True, None))
    for frame in runs.carry_out(tiny, branch):
        reader.take(messages.frame(frame))
    for segment in (0, 1):
        third = runs.proceed(tiny, branch, 4, None, segment)
        again = Messages(f"third {segment}", third)
        reader.take(again.branch("second", 4, False, segment))
        for frame in runs.carry_out(tiny, third):
            reader.take(again.frame(frame))
        check(reader.last, third)
        assert reader.last.text() == reader.runs[("first", "second")[segment]].text()


def test_a_whole_run_in_one_message(tiny):
    trace = begun(tiny)
    list(runs.carry_out(tiny, trace))
    branch = runs.proceed(tiny, trace, 4, edited(tiny, trace, 4))
    list(runs.carry_out(tiny, branch))
    for number, run in enumerate([trace, branch, Trace.from_json(branch.to_json())]):
        reader = Reader()
        reader.take(Messages(f"whole {number}", run, "a recorded run").whole())
        check(reader.last, run)
        assert reader.last.text() == runs.summary(tiny, run)["text"]
        assert reader.last.head["note"] == "a recorded run"
        assert reader.last.end["state"] == "finished"


def test_a_whole_run_is_the_streamed_one(tiny):
    trace, streamed, whole = begun(tiny), Reader(), Reader()
    sent = stream(tiny, "r", trace, streamed)
    written = Messages("r", trace).whole()
    assert json.loads(written)["m"] == [json.loads(message) for message in sent]
    whole.take(written)
    assert whole.last.text() == streamed.last.text()


# ---------------------------------------------------------------- what was worked out afterwards


def looked_at(checkpoint, trace: Trace) -> Trace:
    list(runs.carry_out(checkpoint, trace))
    trace.final_scores, trace.hazard = final_scores(checkpoint, trace), parallel_hazard(checkpoint, trace)
    return trace


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_end_says_what_a_second_look_would_cost(tiny):
    trace = begun(tiny, steps=4, guidance=1.0)
    list(runs.carry_out(tiny, trace))
    rows = json.loads(Messages("r", trace).end())["rows"]
    assert rows == {"final": final_scores_cost(trace), "hazard": hazard_cost(trace)} == {"final": 8, "hazard": 20}
    uniform = load_checkpoint("exact-world-uniform")
    trace = runs.begin(uniform, "The", 5, SamplerConfig(sampler="uniform-ancestral", steps=3))
    list(runs.carry_out(uniform, trace))
    assert json.loads(Messages("r", trace).end())["rows"] == {"final": 3, "hazard": None}


def test_scores_keep_true_ranks_and_digits_enough(tiny):
    trace = looked_at(tiny, begun(tiny, steps=4))
    message = json.loads(Messages("r", trace).scores(6))
    assert (message["k"], message["run"], message["n"]) == ("scores", "r", 6)
    final, hazard = message["final"], message["hazard"]
    assert (final["steps"], final["bytes"]) == (hazard["steps"], 2) == (4, 2)
    np.testing.assert_array_equal(array(final["rank"], "<u2"), trace.final_scores.rank)
    assert trace.final_scores.rank.max() > 5
    p = (array(final["p"], "<u2") / 65535) ** 2
    np.testing.assert_allclose(p, trace.final_scores.probability, rtol=0.005)
    np.testing.assert_array_equal(array(hazard["p"], "<f4"), trace.hazard.probability)
    chosen = np.concatenate([frame.chosen for frame in trace.frames])
    np.testing.assert_array_equal(array(hazard["was"], "<f4"), chosen)


def test_ranks_in_the_largest_vocabularies_fit(tiny):
    trace = looked_at(tiny, begun(tiny, steps=4))
    for size, bytes_ in ((2**16 - 1, 2), (2**16, 4)):
        other = replace(trace, checkpoint=trace.checkpoint | {"vocab_size": str(size)})
        ranks = np.full_like(trace.final_scores.rank, size)
        other.final_scores = replace(trace.final_scores, rank=ranks)
        final = json.loads(Messages("r", other).scores())["final"]
        assert final["bytes"] == bytes_ and (array(final["rank"], f"<u{bytes_}") == size).all()


def test_a_stored_run_brings_its_scores_along(tiny):
    trace, reader = looked_at(tiny, begun(tiny, steps=4)), Reader()
    whole = Messages("r", trace).whole()
    reader.take(whole)  # numbers without a gap
    *_, end, scores = json.loads(whole)["m"]
    assert (end["k"], scores["k"], scores["n"]) == ("end", "scores", end["n"] + 1)
    part = replace(trace, final_scores=None)
    *_, scores = json.loads(Messages("r", part).whole())["m"]
    assert "hazard" in scores and "final" not in scores
    assert json.loads(Messages("r", replace(part, hazard=None)).whole())["m"][-1]["k"] == "end"


# ---------------------------------------------------------------- text stays data


def test_what_looks_like_code_is_text(tiny):
    trace, reader = begun(tiny, HOSTILE + " [MASK:2]", sampler="ancestral"), Reader()
    sent = stream(tiny, "r", trace, reader)
    sent.append(Messages("s", trace).whole())
    for message in sent:
        assert message.encode() and "\n" not in message
        assert json.loads(message)
    assert reader.last.text() == runs.summary(tiny, trace)["text"]
    assert reader.last.text().startswith(HOSTILE)


def test_the_component_has_no_template_that_could_run_text():
    """Gradio evaluates `${}` of a template, and fills `{{}}` into it: the canvas has neither."""
    template = (CANVAS / "canvas.html").read_text(encoding="utf-8")
    assert "dd-" in template and "${" not in template and "{{" not in template
    scripts = "".join((CANVAS / name).read_text(encoding="utf-8") for name in ("model.js", "sheet.js", "view.js"))
    assert "innerHTML" not in scripts and "insertAdjacentHTML" not in scripts and "eval(" not in scripts


def test_a_draft_is_the_canvas_of_what_is_typed(tiny):
    canvas = read_text("The café [MASK:3]", 0, tiny.codec, 64)
    reader = Reader()
    head = {"checkpoint": tiny.id, "mask": tiny.codec.mask_id}
    read = reader.take(draft("d", canvas, tiny.codec, head, tail=0))
    assert read.tokens == canvas.tokens.tolist()
    assert read.text() == "The café[MASK][MASK][MASK]"
    segment = read.stops[0].segment
    assert segment["fixed"] == canvas.fixed.nonzero().squeeze(-1).tolist()
    assert segment["tail"] == 0 and segment["spaced"] == [read.tokens.index(tiny.codec.mask_id)]


def test_a_sentence_is_a_message_too():
    reader = Reader()
    assert reader.take(say('no "masks" </script>')) is None
    assert reader.said == ['no "masks" </script>']
    assert say("again") != say("again"), "the browser is told nothing where a value stays the same"
