"""A trace: all that a run did, step by step, compact enough to keep, to send and to run again."""

import base64
import json
import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddemo.denoisers.chat import Turn
from ddemo.errors import InputError
from ddemo.rescoring import FinalScores, Hazard
from ddemo.sampling.canvas import Canvas, Spacing
from ddemo.sampling.clock import Clock
from ddemo.sampling.config import MAX_BLOCK, MAX_CANDIDATES, MAX_STEPS, SamplerConfig, quoted
from ddemo.sampling.frame import ARRAYS, NOWHERE, Frame

FORMAT = "ddemo-trace"
FORMAT_VERSION = 1
STATES = ("running", "finished", "stopped", "failed")
SCORES = {"final_scores": FinalScores, "hazard": Hazard}  # what a trace may hold besides, by its name in the file
LARGEST = 2**31 - 1  # ids, positions and steps are int32 in the arrays
# A file comes from anybody, so what it may take is bounded before anything is built from it. The longest runs of the
# largest checkpoints known stay below: 4,096 tokens in 1,024 steps.
LARGEST_FILE = 2**25  # characters
MOST_VALUES = 4_000_000  # of the document, counted by what separates them
MOST_FRAMES = 16 * MAX_STEPS  # a run that was continued again and again
MOST_SEGMENTS = 1024
MOST_CELLS = 4096 * MAX_STEPS  # frames times tokens: views keep the canvas of every step
LONGEST_CANVAS = MAX_BLOCK
LONGEST_NAME = 200
MOST_TURNS = 1024
ROUNDING = 1e-4  # a float32 softmax may come out a little above 1


@dataclass(frozen=True)
class Segment:
    """A stretch of a run on one canvas; an edit opens a new one.

    Attributes:
        canvas: the canvas where the segment begins.
        clock: the times of its steps; `clock.first` is the step after which it begins.
        edits: what the visitor changed to get here, one plain record an edit.
        kept: [L], where each position stood on the canvas before, -1 for what is new; empty where nobody asks, which
            is under other noise than Gaussian, and in a run's first segment.
    """

    canvas: Canvas
    clock: Clock
    edits: tuple[dict[str, Any], ...] = ()
    kept: tuple[int, ...] = ()


@dataclass
class Trace:
    """All frames of a lane, with what is needed to run it again.

    Attributes:
        checkpoint: what ran, as `Checkpoint.as_dict` says it: "id", "revision", "device", "dtype", "process", and
            "vocab_size" and "max_length" as digits.
        config: the lane's settings.
        mask_id: id of the mask.
        segments: at least one; in order.
        frames: in order of their steps, without gaps from step 1.
        lane: the lane's number.
        state: one of `STATES`.
        seconds: wall time since the run was begun or last continued.
        pieces: token id -> bytes, for every id that the trace mentions (so that it can be read without a model).
        versions: of the libraries.
        turns: what was said in the conversation that the run goes on with; empty where it goes on with a text.
        final_scores, hazard: what was worked out afterwards (`ddemo.rescoring`); None where nobody asked.
    """

    checkpoint: dict[str, str]
    config: SamplerConfig
    mask_id: int
    segments: list[Segment]
    frames: list[Frame] = field(default_factory=list)
    lane: int = 0
    state: str = "running"
    seconds: float = 0.0
    pieces: dict[int, bytes] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()
    final_scores: FinalScores | None = None
    hazard: Hazard | None = None

    @property
    def last_step(self) -> int:
        return self.frames[-1].step if self.frames else 0

    @property
    def nfe(self) -> int:
        return self.frames[-1].nfe if self.frames else 0

    def segment_at(self, step: int, segment: int | None = None) -> Segment:
        """The segment that stands after `step`; at a branching step the one that begins there.

        Args:
            step: 0 to `last_step`.
            segment: its index, to choose the one that ends at a branching step.

        Raises:
            InputError: the trace has no such step or segment.
        """
        return self.segments[self._segment_index(step, segment)]

    def _segment_index(self, step: int, segment: int | None) -> int:
        if type(step) is not int or not 0 <= step <= self.last_step:
            raise InputError(f"This run has steps 0 to {self.last_step}, so there is no step {quoted(step, 20)}.")
        standing = [index for index, item in enumerate(self.segments) if item.clock.first <= step]
        if segment is None:
            return standing[-1]
        following = self.segments[segment + 1 : segment + 2] if type(segment) is int and segment in standing else None
        if following is None or (following and step > following[0].clock.first):
            raise InputError(f"Step {step} of this run has no segment {quoted(segment, 20)}.")
        return segment

    def tokens_at(self, step: int, segment: int | None = None) -> Tensor:
        """[L] int64: the canvas after `step`. Arguments and errors as for `segment_at`."""
        standing = self.segment_at(step, segment)
        tokens = standing.canvas.tokens.clone()
        for frame in self.frames:
            if standing.clock.first < frame.step <= step:
                tokens[torch.from_numpy(frame.written).long()] = torch.from_numpy(frame.tokens).long()
        return tokens

    def canvas_at(self, step: int, segment: int | None = None) -> Canvas:
        return self.segment_at(step, segment).canvas.with_tokens(self.tokens_at(step, segment))

    def cut_at(self, step: int, segment: int | None = None) -> "Trace":
        """The run up to `step`, as if it had stopped there; shares the kept frames."""
        last = self._segment_index(step, segment)
        return replace(
            self,
            segments=self.segments[: last + 1],
            frames=[frame for frame in self.frames if frame.step <= step],
            state="stopped",
            seconds=0.0,
            pieces=dict(self.pieces),
            final_scores=None,
            hazard=None,
        )

    def to_json(self) -> str:
        """A versioned document; arrays as base64 of little-endian numbers, exact."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "checkpoint": self.checkpoint,
                "config": self.config.as_dict(),
                "mask_id": self.mask_id,
                "lane": self.lane,
                "state": self.state,
                "seconds": self.seconds,
                "versions": self.versions,
                "pieces": {str(token): pack_piece(piece) for token, piece in sorted(self.pieces.items())},
                "segments": [_pack_segment(segment) for segment in self.segments],
                "frames": [_pack_frame(frame) for frame in self.frames],
                **({"turns": [asdict(turn) for turn in self.turns]} if self.turns else {}),
                **{name: _pack_scores(getattr(self, name)) for name in SCORES if getattr(self, name) is not None},
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, document: str) -> "Trace":
        """Read what `to_json` wrote, from anybody: what is returned can be shown, continued and run again.

        `docs/trace.md` describes the document.

        Raises:
            InputError: not a trace, from a newer version, larger than what is read, or damaged.
        """
        data = _read(document)
        try:
            return _unpack(data)
        except InputError as problem:  # settings say for themselves what is wrong with them
            raise InputError(f"This trace is damaged: {problem}") from None
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as problem:
            raise InputError(f"This trace is damaged: {type(problem).__name__} while reading it.") from None


def _read(document: str) -> dict[str, Any]:
    """The document as plain values, once it is known to be a trace of this version and of a size that can be held."""
    if not isinstance(document, str):
        raise InputError("This file is not a trace: it is not JSON.")
    if len(document) > LARGEST_FILE or sum(map(document.count, ",[{")) > MOST_VALUES:
        raise InputError(f"This file is larger than any trace that is read here ({LARGEST_FILE:,} characters).")
    try:
        data = json.loads(document)
    except (ValueError, RecursionError):
        raise InputError("This file is not a trace: it is not JSON.") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError("This file is not a trace of ddemo.")
    version = data.get("version")
    if type(version) is int and version > FORMAT_VERSION:
        raise InputError(
            f"This trace has format version {quoted(version, 20)}, which is newer than this ddemo: it reads "
            f"{FORMAT_VERSION}, so update it to open the file."
        )
    if type(version) is not int or version != FORMAT_VERSION:
        raise InputError(
            f"This trace has format version {quoted(version, 20)}, and this ddemo reads {FORMAT_VERSION}."
        )
    return data


def _unpack(data: dict[str, Any]) -> Trace:
    """The trace of a document; raises whatever a value that no run has leads to."""
    _check_size(data)
    _require(data["state"] in STATES)
    _check_text(data)
    _check_checkpoint(_texts(data["checkpoint"]))
    trace = Trace(
        checkpoint=data["checkpoint"],
        config=SamplerConfig.from_values(data["config"]),
        mask_id=_whole(data["mask_id"]),
        segments=[_unpack_segment(segment) for segment in data["segments"]],
        frames=list(_unpack_frames(data["frames"])),
        lane=_whole(data["lane"]),
        state=data["state"],
        seconds=_number(data["seconds"], math.inf),
        pieces={int(token): _unpack_piece(piece) for token, piece in data["pieces"].items()},
        versions=_texts(data["versions"]),
        turns=_unpack_turns(data.get("turns", [])),
        **{name: _unpack_scores(kind, data[name]) for name, kind in SCORES.items() if name in data},
    )
    _check_run(trace)
    _check_tokens(trace)
    for name in SCORES:
        if (scores := getattr(trace, name)) is not None:
            scores.check(trace)
    return trace


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("no run of ddemo says this")


def _whole(value: Any, below: int = LARGEST) -> int:
    _require(type(value) is int and 0 <= value < below)
    return value


def _number(value: Any, most: float) -> float:
    _require(type(value) in (int, float) and 0 <= value <= most and math.isfinite(value))
    return float(value)


def _texts(data: dict[str, str]) -> dict[str, str]:
    _require(all(isinstance(value, str) for value in data.values()))
    return data


def _unpack_turns(data: list[dict[str, str]]) -> tuple[Turn, ...]:
    _require(isinstance(data, list) and len(data) <= MOST_TURNS)
    return tuple(Turn(**_texts(turn)) for turn in data)


def _check_text(data: dict[str, Any]) -> None:
    """Lone surrogates, which JSON can spell and nothing can show, are a UnicodeError, so a ValueError."""
    json.dumps({name: part for name, part in data.items() if name != "frames"}, ensure_ascii=False).encode()


def _check_size(data: dict[str, Any]) -> None:
    """Before anything is built: a view keeps a canvas for each frame, however little the frame says."""
    segments, frames = data["segments"], data["frames"]
    _require(isinstance(segments, list) and isinstance(frames, list))
    longest = max((len(segment["tokens"]) for segment in segments), default=0)
    fits = len(segments) <= MOST_SEGMENTS and len(frames) <= MOST_FRAMES and longest <= LONGEST_CANVAS
    if not fits or longest * len(frames) > MOST_CELLS:
        raise InputError(
            f"it has {len(frames):,} steps of {longest:,} tokens in {len(segments):,} segments, more than a run has."
        )


def _check_checkpoint(checkpoint: dict[str, str]) -> None:
    """What views read of it."""
    for name in ("id", "revision", "device"):
        _require(0 < len(checkpoint[name]) <= LONGEST_NAME and checkpoint[name].isprintable())
    for name in ("vocab_size", "max_length"):
        digits = checkpoint[name]
        _require(len(digits) <= 9 and digits.isascii() and digits.isdigit() and int(digits) > 0)
    _require(checkpoint.get("process", "absorbing") in ("absorbing", "uniform", "gaussian"))


def _check_run(trace: Trace) -> None:
    """Views index canvases with what frames say, so it has to fit."""
    firsts = [segment.clock.first for segment in trace.segments]
    _require(bool(firsts) and firsts[0] == 0 and firsts == sorted(firsts) and firsts[-1] <= len(trace.frames))
    longest = int(trace.checkpoint["max_length"])
    _require(all(len(segment.canvas) <= longest for segment in trace.segments))
    for before, segment in pairwise([None, *trace.segments]):
        room = len(before.canvas) if before else 0
        _require(all(-1 <= position < room for position in segment.kept))
    for frame in trace.frames:
        standing = trace.segments[bisect_left(firsts, frame.step) - 1]
        _require(frame.step <= standing.clock.last)
        for positions in (frame.positions, frame.written):
            _require(bool(((positions >= 0) & (positions < len(standing.canvas))).all()))
    _require(len({frame.ids.shape[1] for frame in trace.frames if frame.fresh}) <= 1)  # as many for each position


def _check_tokens(trace: Trace) -> None:
    """Every token that is mentioned is one of the vocabulary and is spelt."""
    mentioned = {token for segment in trace.segments for token in segment.canvas.tokens.tolist()}
    for frame in trace.frames:
        mentioned.update(frame.ids.ravel().tolist(), frame.tokens.tolist())
    vocab_size = int(trace.checkpoint["vocab_size"])
    _require(trace.mask_id < vocab_size and mentioned <= trace.pieces.keys())
    _require(all(0 <= token < vocab_size for token in trace.pieces))


def pack_piece(piece: bytes) -> str | list[int]:
    """A token's bytes for JSON: text where they are text, else a list of numbers."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def _unpack_piece(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes([*piece])  # a list: bytes(9) would be nine zeros


def _pack_array(array: np.ndarray) -> str:
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


def _unpack_array(text: str, kind: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), np.dtype(kind).newbyteorder("<")).astype(kind)


def _pack_scores(scores: FinalScores | Hazard) -> dict[str, Any]:
    return {"steps": scores.steps, **{name: _pack_array(getattr(scores, name)) for name in scores.ARRAYS}}


def _unpack_scores(kind: type, item: dict[str, Any]) -> FinalScores | Hazard:
    arrays = {name: _unpack_array(item[name], number) for name, number in kind.ARRAYS.items()}
    return kind(steps=_whole(item["steps"]), **arrays)


def _pack_frame(frame: Frame) -> dict[str, Any]:
    arrays = {name: _pack_array(getattr(frame, name)) for name in ARRAYS}
    arrays |= {name: _pack_array(getattr(frame, name)) for name in NOWHERE if len(getattr(frame, name))}
    return {"step": frame.step, "t": frame.t, "s": frame.s, "nfe": frame.nfe, **arrays}


def _unpack_frames(packed: list[dict]) -> Iterator[Frame]:
    for number, item in enumerate(packed, start=1):
        arrays = {name: _unpack_array(item[name], kind) for name, kind in ARRAYS.items()}
        rows = len(arrays["positions"])
        for name in ("ids", "probabilities"):
            arrays[name] = arrays[name].reshape(rows, -1) if rows else arrays[name].reshape(0, 0)
        _require(item["step"] == number and len(arrays["entropy"]) == rows)
        _require(arrays["ids"].shape == arrays["probabilities"].shape)
        _require(len(arrays["written"]) == len(arrays["tokens"]) == len(arrays["chosen"]))
        _require(arrays["ids"].shape[1] <= MAX_CANDIDATES)
        _require(all(np.isfinite(array).all() and bool((array >= 0).all()) for array in arrays.values()))
        _require(all(bool((arrays[name] <= 1.0 + ROUNDING).all()) for name in ("probabilities", "chosen")))
        arrays |= _unpack_places(item, rows)
        t, s, nfe = _number(item["t"], 1.0), _number(item["s"], 1.0), _whole(item["nfe"])
        yield Frame(step=number, t=t, s=s, nfe=nfe, **arrays)


def _unpack_places(item: dict[str, Any], rows: int) -> dict[str, np.ndarray]:
    """Where the latents of a frame lie, which only runs of Gaussian noise tell."""
    told = {name: _unpack_array(item[name], np.float32) for name in NOWHERE if name in item}
    if not told:
        return {}
    told["plane"] = told["plane"].reshape(-1, 2)
    _require(all(len(told[name]) == rows and bool(np.isfinite(told[name]).all()) for name in NOWHERE))
    _require(all(bool((told[name] >= 0).all()) for name in ("distance", "margin")))
    return told


def _pack_segment(segment: Segment) -> dict[str, Any]:
    canvas, clock = segment.canvas, segment.clock
    return {
        "first": clock.first,
        "last": clock.last,
        "start": clock.start,
        "edits": list(segment.edits),
        "tokens": canvas.tokens.tolist(),
        "fixed": canvas.fixed.nonzero().squeeze(-1).tolist(),
        "spacing": {str(i): int(rule) for i, rule in enumerate(canvas.spacing) if rule},
        "own": {str(position): text for position, text in canvas.own.items()},
        "forced": sorted(canvas.forced),
        "locked": sorted(canvas.locked),
        **({"kept": list(segment.kept)} if segment.kept else {}),
    }


def _unpack_segment(item: dict[str, Any]) -> Segment:
    ids = [_whole(token) for token in item["tokens"]]
    length = len(ids)
    _require(length > 0 and all(isinstance(edit, dict) for edit in item["edits"]))
    own = {_whole(int(position), length): text for position, text in item["own"].items()}
    _require(all(isinstance(text, str) for text in own.values()))
    fixed = torch.zeros(length, dtype=torch.bool)
    fixed[[_whole(position, length) for position in item["fixed"]]] = True
    spacing = torch.zeros(length, dtype=torch.uint8)
    for position, rule in item["spacing"].items():
        spacing[_whole(int(position), length)] = _whole(rule, max(Spacing) * 2)
    canvas = Canvas(
        tokens=torch.tensor(ids, dtype=torch.int64),
        fixed=fixed,
        spacing=spacing,
        own=own,
        forced=frozenset(_whole(position, length) for position in item["forced"]),
        locked=frozenset(_whole(position, length) for position in item["locked"]),
    )
    clock = Clock(_whole(item["first"]), _whole(item["last"]), _number(item["start"], 1.0))
    most = MAX_STEPS + length  # the canvas paces some samplers, and others take an extra step for each block
    _require(0 < clock.last - clock.first <= most and clock.start > 0)
    kept = tuple(item.get("kept", ()))
    _require(len(kept) in (0, length) and all(type(position) is int for position in kept))
    return Segment(canvas, clock, tuple(item["edits"]), kept)
