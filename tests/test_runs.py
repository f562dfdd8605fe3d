"""Runs: begin one, carry it out, go on from any step of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddemo import runs
from ddemo.denoisers import Checkpoint, load_checkpoint
from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS, Clock, Engine, FillRules, Frame, Lane, SamplerConfig
from ddemo.sampling.canvas import MaskRun, parse_markers
from ddemo.sampling.config import MAX_STEPS
from ddemo.sampling.frame import ARRAYS
from ddemo.trace import Trace
from tests.sampling.drive import PROCESSES, SAMPLED, facts, settings_of

TEXT = "The old sailor [MASK:5] into the sea, and said [MASK:3] at all."
KINDS = [
    SamplerConfig(sampler=sampler, draw=draw, steps=8, seed=3)
    for sampler in ("confidence", "ancestral", "p2", "remdm-conf", "first-hitting")
    for draw in ("sample", "argmax")
]
NAMES = [f"{config.sampler}-{config.draw}" for config in KINDS]
WORLD_TEXT = "The king [MASK:4]"  # for the checkpoint of uniform noise


@pytest.fixture(scope="module")
def world() -> Checkpoint:
    return load_checkpoint("exact-world-uniform")


@pytest.fixture(params=PROCESSES)
def either(request, tiny, world) -> tuple[Checkpoint, str]:
    """A checkpoint of each noise, with a text for it."""
    return (tiny, TEXT) if request.param == "absorbing" else (world, WORLD_TEXT)


def finished(checkpoint, text=TEXT, length=0, config=KINDS[0]) -> Trace:
    trace = runs.begin(checkpoint, text, length, config)
    assert list(runs.carry_out(checkpoint, trace)) == trace.frames
    assert trace.state == "finished"
    return trace


def same(frame: Frame, other: Frame) -> bool:
    """To the last bit; `nfe` aside."""
    times = (frame.step, frame.t, frame.s) == (other.step, other.t, other.s)
    return times and all(np.array_equal(getattr(frame, name), getattr(other, name)) for name in ARRAYS)


def wrote_the_same(frame: Frame, other: Frame) -> bool:
    names = ("written", "tokens", "chosen")
    return frame.step == other.step and all(
        np.array_equal(getattr(frame, name), getattr(other, name)) for name in names
    )


def cells(trace: Trace, step: int, **changes) -> list[dict]:
    """The row after `step` as the browser sends it, `at_3={"mask": True}` changing position 3."""
    row = [{"from": position} for position in range(len(trace.canvas_at(step)))]
    for name, change in changes.items():
        row[int(name.removeprefix("at_"))] |= change
    return row


# ---------------------------------------------------------------- from text to text


@pytest.mark.parametrize("config", KINDS, ids=NAMES)
def test_a_run_fills_every_mask_and_keeps_what_was_typed(tiny, config):
    trace = finished(tiny, config=config)
    text = runs.summary(tiny, trace)["text"]
    assert "[MASK]" not in text
    head, middle, tail = "The old sailor", " into the sea, and said", " at all."
    assert text.startswith(head) and text.endswith(tail) and middle in text
    canvas = trace.segments[0].canvas
    kept = canvas.tokens != trace.mask_id
    assert torch.equal(trace.tokens_at(trace.last_step)[kept], canvas.tokens[kept])


@pytest.mark.parametrize("config", KINDS, ids=NAMES)
def test_the_same_seed_gives_the_same_run_and_another_seed_another(tiny, config):
    first, again = finished(tiny, config=config), finished(tiny, config=config)
    assert len(first.frames) == len(again.frames)
    assert all(same(*pair) for pair in zip(first.frames, again.frames, strict=True))
    if config.draw == "sample":
        other = finished(tiny, config=replace(config, seed=4))
        assert not torch.equal(other.tokens_at(other.last_step), first.tokens_at(first.last_step))


def test_argmax_in_confidence_order_does_not_depend_on_the_seed(tiny):
    config = SamplerConfig(draw="argmax", steps=4)
    texts = {runs.summary(tiny, finished(tiny, config=replace(config, seed=seed)))["text"] for seed in range(3)}
    assert len(texts) == 1


def masks_in(text):
    return sum(part.count for part in parse_markers(text) if isinstance(part, MaskRun))


def test_progress_goes_from_all_masks_to_none(tiny):
    trace = runs.begin(tiny, TEXT, 0, SamplerConfig(steps=4))
    text = runs.summary(tiny, trace)["text"]
    assert runs.progress(tiny, trace) == {"step": 0, "steps": 4, "text": text, "masks": 8, "nfe": 0}
    seen = [runs.progress(tiny, trace) for _ in runs.carry_out(tiny, trace)]
    assert [record["masks"] for record in seen] == [6, 4, 2, 0]
    assert [masks_in(record["text"]) for record in seen] == [6, 4, 2, 0]
    assert [record["nfe"] for record in seen] == [1, 2, 3, 4]


def test_a_summary_is_enough_to_run_again(tiny):
    trace = finished(tiny, config=KINDS[2])
    kept = runs.summary(tiny, trace)
    again = finished(tiny, config=SamplerConfig.from_values(kept["settings"]))
    assert runs.summary(tiny, again)["tokens"] == kept["tokens"]
    assert kept["seed"] == 3 and kept["seconds"] > 0 and kept["checkpoint"]["id"] == tiny.id
    assert tiny.codec.decode(kept["tokens"]) == kept["text"]


def test_every_token_that_a_trace_mentions_is_spelt_in_it(tiny):
    trace = finished(tiny)
    mentioned = {token for frame in trace.frames for token in (*frame.ids.ravel().tolist(), *frame.tokens.tolist())}
    mentioned |= set(trace.segments[0].canvas.tokens.tolist())
    assert mentioned == set(trace.pieces)
    assert all(trace.pieces[token] == tiny.codec.piece(token) for token in mentioned)


def test_a_note_says_when_steps_are_left_over(tiny):
    def noted(**settings):
        return runs.notes(runs.begin(tiny, TEXT, 0, SamplerConfig(**settings)))

    assert noted(steps=20) == ["There are 8 masks, so the run ends after 8 of the 20 steps."]
    assert noted(steps=8) == [] and noted(steps=20, sampler="ancestral") == []
    assert finished(tiny, config=SamplerConfig(steps=20)).last_step == 8


# ---------------------------------------------------------------- going on


def goes_on_as_before(checkpoint, original: Trace, source: Trace, step: int) -> None:
    """From the given step of `source`, which says the same as `original`."""
    branch = runs.proceed(checkpoint, source, step, None)
    assert branch.last_step == step and branch.state == "stopped" and len(branch.segments) == 1
    list(runs.carry_out(checkpoint, branch))
    assert branch.state == "finished" and len(branch.frames) == len(original.frames)
    for mine, theirs in zip(branch.frames, original.frames, strict=True):
        # Where the original used its last answer again, the first step after the branch has to ask anew.
        assert same(mine, theirs) or (mine.fresh and not theirs.fresh and wrote_the_same(mine, theirs))
    assert original.nfe <= branch.nfe <= original.nfe + 2
    assert source.state == "finished" and len(source.frames) == len(original.frames), "the source is left as it is"


@pytest.mark.parametrize("name, process", SAMPLED)
def test_a_run_of_every_sampler_goes_on_from_any_step_of_its_file(tiny, world, name, process):
    checkpoint, text = (tiny, TEXT) if process == "absorbing" else (world, WORLD_TEXT)
    original = finished(checkpoint, text, config=SamplerConfig(name, steps=8, seed=3))
    document = original.to_json()
    read = Trace.from_json(document)
    assert read.to_json() == document
    assert [facts(frame) for frame in read.frames] == [facts(frame) for frame in original.frames]
    for step in range(original.last_step):
        goes_on_as_before(checkpoint, original, read if step % 2 else original, step)


def test_a_file_remembers_how_unlikely_a_token_was_when_it_was_written(tiny):
    """ReMDM goes by it, so a run that is taken up again has to know it."""
    config = SamplerConfig("remdm-conf", steps=60, eta=1.0, schedule="cosine", temperature=3.0, seed=2)
    original = finished(tiny, "The [MASK:6]", config=config)
    read = Trace.from_json(original.to_json())
    for step in range(30, 60, 3):
        lane, frames = Lane(**runs._where(read.cut_at(step))), original.frames[:step]
        for position in range(len(lane.tokens)):
            last = [frame for frame in frames if position in frame.written]
            written = last[-1].chosen[last[-1].written.tolist().index(position)] if last else 1.0
            assert lane.decoded[position] == float(written)
        goes_on_as_before(tiny, original, read, step)


@pytest.mark.parametrize("name, process", SAMPLED)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_its_settings(tiny, world, name, process, data):
    """Knobs, blocks, guidance and the end of the text, all at random."""
    checkpoint, text = (tiny, TEXT) if process == "absorbing" else (world, WORLD_TEXT)
    config = data.draw(settings_of(SAMPLERS[name], 8 if process == "absorbing" else 0, process))
    original = finished(checkpoint, text, config=config)
    read = Trace.from_json(original.to_json())
    goes_on_as_before(checkpoint, original, read, data.draw(st.integers(0, original.last_step - 1)))


@pytest.mark.parametrize("name", ["sedd-analytic", "tau-leaping", "flow", "first-hitting"])
def test_the_longest_run_there_can_be_survives_its_file(tiny, name):
    """Extra steps come on top of the most that can be asked for."""
    trace = runs.begin(tiny, TEXT, 0, SamplerConfig(name, steps=MAX_STEPS, block_length=1))
    assert Trace.from_json(trace.to_json()).segments[0].clock == trace.segments[0].clock
    assert trace.segments[0].clock.last == {"flow": 1024, "first-hitting": 8}.get(name, 1024 + 8)


def test_uniform_noise_begins_with_random_words_and_keeps_what_was_typed(world):
    """The canvas of the trace is x_1 itself, so that the run can be shown and taken up without the noise."""
    rows = set()
    for seed in range(20):
        config = SamplerConfig("uniform-ancestral", steps=4, seed=seed)
        trace = runs.begin(world, WORLD_TEXT, 0, config)
        canvas = trace.segments[0].canvas
        assert canvas.fixed.tolist() == [True, True, False, False, False, False]
        assert world.codec.decode(canvas.tokens[:2].tolist()) == "The king"
        assert not (canvas.tokens >= 10).any()  # neither padding nor mask
        rows.add(tuple(canvas.tokens.tolist()))
        list(runs.carry_out(world, trace))
        assert runs.summary(world, trace)["text"].startswith("The king")
        assert runs.progress(world, trace)["masks"] == 0
    assert len(rows) > 15


def test_words_that_are_masked_again_under_uniform_noise_become_noise(world):
    original = finished(world, WORLD_TEXT, config=SamplerConfig("uniform-ancestral", steps=8, seed=1))
    row = cells(original, 8, at_3={"mask": True}, at_5={"lock": True})
    branch = runs.proceed(world, original, 8, row)
    again = runs.proceed(world, original, 8, row)
    begun = branch.segments[-1].canvas
    assert torch.equal(begun.tokens, again.segments[-1].canvas.tokens) and int(begun.tokens[3]) < 10
    assert branch.segments[-1].clock.start == pytest.approx(1 / 3)  # of the three that are free
    list(runs.carry_out(world, branch))
    end = branch.tokens_at(branch.last_step)
    assert int(end[5]) == int(original.tokens_at(8)[5]) and branch.state == "finished"


def test_edits_under_uniform_noise_go_on_from_the_noise_that_is_left(world):
    """The words that stand are still noised, so time may not jump to the share that was masked."""
    original = finished(world, WORLD_TEXT, config=SamplerConfig("uniform-ancestral", steps=16))
    queen = {"at_1": {"text": " queen"}}
    forced = runs.proceed(world, original, 4, cells(original, 4, **queen))
    assert forced.segments[-1].clock == Clock(4, 16, 0.75)
    list(runs.carry_out(world, forced))
    assert runs.summary(world, forced)["text"].startswith("The queen ")
    masked = runs.proceed(world, original, 16, cells(original, 16, at_3={"mask": True}))
    assert masked.segments[-1].clock == Clock(16, 20, 0.25)
    with pytest.raises(InputError, match="Nothing is masked"):
        runs.proceed(world, original, 16, cells(original, 16, **queen))
    held = {f"at_{position}": {"text": " queen"} for position in range(2, 6)}
    with pytest.raises(InputError, match="Every word is held"):
        runs.proceed(world, original, 4, cells(original, 4, **held))


@pytest.mark.parametrize("name", ["confidence", "uniform-joint"])
def test_a_sampler_of_other_noise_is_refused_before_anything_is_read(either, name):
    checkpoint, text = either
    if checkpoint.denoiser.process in SAMPLERS[name].processes:
        assert runs.begin(checkpoint, text, 0, SamplerConfig(name)).frames == []
        return
    with pytest.raises(InputError, match=f"sampler must be one for {checkpoint.denoiser.process} noise"):
        runs.begin(checkpoint, text, 0, SamplerConfig(name))


@pytest.mark.parametrize(
    "values, said", [({"block_length": 3}, "must divide the 8 masks"), ({"steps": 1}, "at least 2")]
)
def test_settings_that_do_not_fit_the_text_are_a_sentence(tiny, values, said):
    with pytest.raises(InputError, match=said):
        runs.begin(tiny, TEXT, 0, SamplerConfig(**{"block_length": 4} | values))


def test_a_run_in_the_engine_is_the_same_run(either):
    checkpoint, text = either
    name = "confidence" if checkpoint.denoiser.process == "absorbing" else "uniform-joint"
    engine = Engine(checkpoint.denoiser, FillRules.of(checkpoint.codec))
    alone = finished(checkpoint, text, config=SamplerConfig(name, steps=6))
    trace = runs.begin(checkpoint, text, 0, SamplerConfig(name, steps=6))
    assert list(runs.carry_out(checkpoint, trace, engine=engine)) == trace.frames and trace.state == "finished"
    assert all(same(*pair) for pair in zip(trace.frames, alone.frames, strict=True))
    assert trace.pieces == alone.pieces


def test_what_goes_wrong_in_a_lane_is_raised_where_its_frames_are_read(tiny, make_counting):
    checkpoint, _ = make_counting(tiny, fail_at=3)
    trace = runs.begin(checkpoint, TEXT, 0, KINDS[0])
    engine = Engine(checkpoint.denoiser, FillRules.of(checkpoint.codec))
    with pytest.raises(RuntimeError, match="out of memory"):
        list(runs.carry_out(checkpoint, trace, engine=engine))
    assert trace.state != "finished" and trace.last_step == 2


def test_continuing_asks_anew_only_where_the_original_reused_its_answer(tiny):
    """Ancestral, more steps than masks: some steps change nothing. All other frames are the same to the bit."""
    config = SamplerConfig(sampler="ancestral", steps=24, seed=1)
    original = finished(tiny, config=config)
    reused = [frame.step for frame in original.frames if not frame.fresh]
    assert reused, "this seed has no step that changes nothing"
    for step in range(original.last_step):
        branch = runs.proceed(tiny, original, step, None)
        list(runs.carry_out(tiny, branch))
        different = [
            mine.step for mine, theirs in zip(branch.frames, original.frames, strict=True) if not same(mine, theirs)
        ]
        assert different == ([step + 1] if step + 1 in reused else [])


@pytest.mark.parametrize("config", KINDS, ids=NAMES)
def test_a_forced_token_stays(tiny, config):
    original = finished(tiny, config=config)
    position = int((original.tokens_at(2) == original.mask_id).nonzero()[0])
    token = tiny.codec.encode(" wind")[0][0]
    assert int(original.tokens_at(original.last_step)[position]) != token
    branch = runs.proceed(tiny, original, 2, cells(original, 2, **{f"at_{position}": {"id": token}}))
    list(runs.carry_out(tiny, branch))
    assert int(branch.tokens_at(branch.last_step)[position]) == token
    assert branch.state == "finished" and "[MASK]" not in runs.summary(tiny, branch)["text"]
    assert all(position not in frame.written for frame in branch.frames[2:])
    assert {"edit": "force", "at": position, "id": token} in branch.segments[-1].edits
    assert all(same(*pair) for pair in zip(branch.frames[:2], original.frames[:2], strict=True))


def test_an_edit_of_the_length_opens_a_segment_and_earlier_steps_keep_theirs(tiny):
    original = finished(tiny, config=SamplerConfig(steps=8, seed=5))
    step, before = 3, len(original.canvas_at(3))
    row = cells(original, step)
    row[4:4] = [{"mask": True}, {"mask": True}]
    row[0] = {"from": 0, "text": "A very old"}
    branch = runs.proceed(tiny, original, step, row)
    longer = before + 2 + len(tiny.codec.encode("A very old")[0]) - 1
    assert [len(segment.canvas) for segment in branch.segments] == [before, longer]
    list(runs.carry_out(tiny, branch))
    assert len(branch.tokens_at(step, 0)) == before and len(branch.tokens_at(step, 1)) == longer
    assert torch.equal(branch.tokens_at(step, 0), original.tokens_at(step))
    assert runs.summary(tiny, branch)["text"].startswith("A very old")
    assert [edit["edit"] for edit in branch.segments[1].edits] == ["type", "mask", "mask"]


def test_time_after_edits_is_the_share_of_free_positions_that_are_masked(tiny):
    original = finished(tiny, "", 12, SamplerConfig(steps=12, seed=2))
    row = cells(original, 12, at_0={"mask": True}, at_1={"mask": True}, at_2={"mask": True}, at_3={"lock": True})
    branch = runs.proceed(tiny, original, 12, row)
    clock = branch.segments[-1].clock
    assert clock.start == pytest.approx(3 / 11), "12 positions, one held, 3 masked"
    assert (clock.first, clock.last) == (12, 12 + 4), "at the run's own stride of 1/12, 3/11 of the time is 4 steps"
    list(runs.carry_out(tiny, branch))
    times = [(frame.t, frame.s) for frame in branch.frames[12:]]
    assert times == [pytest.approx((3 / 11 * left / 4, 3 / 11 * (left - 1) / 4)) for left in (4, 3, 2)]
    assert int(branch.tokens_at(branch.last_step)[3]) == int(original.tokens_at(12)[3])
    assert {"edit": "lock", "at": 3} in branch.segments[-1].edits


def test_edits_of_a_branch_can_be_edited_again_and_survive_json(tiny):
    original = finished(tiny, config=SamplerConfig(steps=8, seed=5))
    first = runs.proceed(tiny, original, 4, cells(original, 4, at_0={"mask": True}))
    list(runs.carry_out(tiny, first))
    read = Trace.from_json(first.to_json())
    second = runs.proceed(tiny, read, 4, [*cells(read, 4), {"mask": True}])
    assert [segment.clock.first for segment in second.segments] == [0, 4, 4]
    list(runs.carry_out(tiny, second))
    third = runs.proceed(tiny, second, 4, None, segment=0)
    list(runs.carry_out(tiny, third))
    assert torch.equal(third.tokens_at(third.last_step), original.tokens_at(original.last_step))
    again = Trace.from_json(second.to_json())
    assert torch.equal(again.tokens_at(again.last_step), second.tokens_at(second.last_step))
    assert again.segments[2].edits == second.segments[2].edits


def test_continuing_from_the_segment_before_an_edit(tiny):
    """A branching step has two canvases; the earlier one goes on as if nothing had been edited."""
    original = finished(tiny)
    edited = runs.proceed(tiny, original, 2, cells(original, 2, at_0={"mask": True}))
    list(runs.carry_out(tiny, edited))
    back = runs.proceed(tiny, edited, 2, None, segment=0)
    list(runs.carry_out(tiny, back))
    assert all(same(*pair) for pair in zip(back.frames, original.frames, strict=True))
    forward = runs.proceed(tiny, edited, 2, None)
    list(runs.carry_out(tiny, forward))
    assert all(same(*pair) for pair in zip(forward.frames, edited.frames, strict=True))


@pytest.mark.parametrize("step", [-1, 99, 2.0, True, "2", None, [2], 10**400])
def test_a_step_that_is_not_there_is_a_sentence(tiny, step):
    with pytest.raises(InputError, match=r"This run has steps 0 to \d+, so there is no step"):
        runs.proceed(tiny, finished(tiny), step, None)


@pytest.mark.parametrize("segment", [-1, 1, 99, "0", [0], {}, 0.5])
def test_a_segment_that_is_not_there_is_a_sentence(tiny, segment):
    with pytest.raises(InputError, match="of this run has no segment"):
        runs.proceed(tiny, finished(tiny), 2, None, segment)


def test_nothing_to_fill_is_a_sentence(tiny):
    trace = finished(tiny)
    with pytest.raises(InputError, match="Nothing is left to do at this step: mask a word and continue"):
        runs.proceed(tiny, trace, trace.last_step, None)
    with pytest.raises(InputError, match="nothing to fill"):
        runs.proceed(tiny, trace, trace.last_step, cells(trace, trace.last_step))


def test_a_run_of_another_checkpoint_is_refused(tiny):
    trace = finished(tiny)
    other = replace(trace, checkpoint=trace.checkpoint | {"id": "some-other"})
    with pytest.raises(InputError, match=f"made with some-other, and {tiny.id} is loaded"):
        runs.proceed(tiny, other, 1, None)
    with pytest.raises(InputError, match="is loaded"):
        runs.proceed(tiny, replace(trace, mask_id=trace.mask_id + 1), 1, None)
    older = replace(trace, checkpoint=trace.checkpoint | {"revision": "0123456789ab"})
    with pytest.raises(InputError, match=f"revision 0123456789ab of {tiny.id}, and revision {tiny.revision} is"):
        runs.proceed(tiny, older, 1, None)


# ---------------------------------------------------------------- ending early


def test_a_stop_ends_within_the_step_and_leaves_a_usable_run(tiny):
    trace = runs.begin(tiny, TEXT, 0, KINDS[0])
    flag = []
    for frame in runs.carry_out(tiny, trace, lambda: bool(flag)):
        if frame.step == 3:
            flag.append(True)
    assert (trace.state, trace.last_step) == ("stopped", 3)
    assert masks_in(runs.summary(tiny, trace)["text"]) == 5
    whole = finished(tiny, config=KINDS[0])
    branch = runs.proceed(tiny, Trace.from_json(trace.to_json()), 3, None)
    list(runs.carry_out(tiny, branch))
    assert all(same(*pair) for pair in zip(branch.frames, whole.frames, strict=True))


def test_a_stop_before_the_first_step_still_takes_one(tiny):
    trace = runs.begin(tiny, TEXT, 0, KINDS[0])
    assert len(list(runs.carry_out(tiny, trace, lambda: True))) == 1
    assert trace.state == "stopped"


def test_closing_the_generator_stops_the_run(tiny, make_counting):
    checkpoint, calls = make_counting(tiny)
    trace = runs.begin(checkpoint, TEXT, 0, KINDS[0])
    frames = runs.carry_out(checkpoint, trace)
    next(frames), next(frames)
    frames.close()
    assert (trace.state, trace.last_step, len(calls)) == ("stopped", 2, 2)
    branch = runs.proceed(tiny, trace, 2, None)
    assert list(runs.carry_out(tiny, branch)) and branch.state == "finished"


def test_a_denoiser_that_fails_leaves_the_steps_before_it(tiny, make_counting):
    checkpoint, _ = make_counting(tiny, fail_at=3)
    trace = runs.begin(checkpoint, TEXT, 0, KINDS[0])
    with pytest.raises(RuntimeError, match="out of memory"):
        list(runs.carry_out(checkpoint, trace))
    assert trace.state != "finished" and trace.last_step == 2
    branch = runs.proceed(tiny, trace, 2, None)
    list(runs.carry_out(tiny, branch))
    assert all(same(*pair) for pair in zip(branch.frames, finished(tiny).frames, strict=True))


@pytest.fixture
def make_counting():
    """(checkpoint, fail_at) -> the checkpoint with its calls in a list, the call of that number raising."""

    def make(checkpoint, fail_at=None):
        calls = []

        class Counting:
            def __getattr__(self, name):
                return getattr(checkpoint.denoiser, name)

            def __call__(self, *arguments):
                calls.append(arguments)
                if len(calls) == fail_at:
                    raise RuntimeError("out of memory")
                return checkpoint.denoiser(*arguments)

        return replace(checkpoint, denoiser=Counting()), calls

    return make


# ---------------------------------------------------------------- untrusted values


@pytest.mark.parametrize("text", [None, 5, True, ["a"], {"text": "a"}, b"a"])
def test_a_text_must_be_a_text(text):
    with pytest.raises(InputError, match=r"^The text must be a string\.$"):
        runs.checked_request(text, 4)


@pytest.mark.parametrize(
    "length",
    [
        *(-1, -0.5, 2.5, float("nan"), float("inf"), -float("inf"), 1e300, 10**400),
        pytest.param(10**5000, id="5000 digits"),
        *(None, "4", "\ud800", True, [4], {"a": 1}),
    ],
)
def test_a_length_must_be_a_whole_number(length):
    with pytest.raises(InputError, match=r"^The number of new tokens must be a whole number from 0 to") as refused:
        runs.checked_request("text", length)
    str(refused.value).encode()  # a lone surrogate would stop the stream that carries the sentence
    assert len(str(refused.value)) < 150


def test_whole_numbers_may_come_as_floats():
    assert runs.checked_request("text", 4.0) == ("text", 4)
    assert type(runs.checked_request("text", 4.0)[1]) is int


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CELLS = st.lists(
    VALUES
    | st.fixed_dictionaries(
        {},
        optional={
            "from": st.integers(-1, 30) | VALUES,
            "mask": st.booleans() | VALUES,
            "id": st.integers(-2, 500) | VALUES,
            "text": st.text(max_size=6) | VALUES,
            "lock": st.booleans() | VALUES,
        },
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(step=st.integers(0, 3) | VALUES, row=CELLS | VALUES, segment=st.none() | st.integers(-1, 2) | VALUES)
def test_whatever_is_sent_to_continue_is_a_run_or_a_sentence(tiny, step, row, segment):
    trace = runs.begin(tiny, TEXT, 0, KINDS[0])
    for frame in runs.carry_out(tiny, trace):
        if frame.step == 3:
            break
    try:
        branch = runs.proceed(tiny, trace, step, row, segment)
    except InputError as refused:
        sentence = str(refused)
        sentence.encode()
        assert sentence and "\n" not in sentence and len(sentence) < 300
    else:
        assert (branch.tokens_at(branch.last_step) == branch.mask_id).any()
        next(runs.carry_out(tiny, branch))


def test_a_run_on_a_canvas_is_that_of_its_text(tiny):
    """`begin` reads a text; `begin_on` takes the canvas as it is."""
    config = SamplerConfig(steps=3, seed=4)
    of_text = runs.begin(tiny, "The old [MASK:5] sea", 0, config)
    canvas = of_text.segments[0].canvas
    of_canvas = runs.begin_on(tiny, canvas, config)
    for trace in (of_text, of_canvas):
        list(runs.carry_out(tiny, trace))
    assert torch.equal(of_text.tokens_at(3), of_canvas.tokens_at(3)) and of_text.nfe == of_canvas.nfe == 3
    with pytest.raises(InputError, match="sampler must be one for absorbing noise"):
        runs.begin_on(tiny, canvas, SamplerConfig("ddpm"))
