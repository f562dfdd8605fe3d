"""A trace as the messages that the token canvas in the browser understands, one for each step."""

import base64
import json
import math
from itertools import count
from typing import Any

import numpy as np

from ddemo.denoisers import TextCodec
from ddemo.rescoring import final_scores_cost, hazard_cost
from ddemo.sampling import SAMPLERS, Canvas, Frame
from ddemo.sampling.canvas import Spacing
from ddemo.trace import Segment, Trace, pack_piece

_said = count()


class Messages:
    """Writes the messages of one run, in order; each token's text is sent once.

    Args:
        run: an identifier that cannot be guessed.
        trace: the run; frames may be added to it while messages are written.
        note: a line that stands above the canvas, such as what a stored example is.
    """

    def __init__(self, run: str, trace: Trace, note: str = ""):
        self.run = run
        self.trace = trace
        self.note = note
        self._number = 0
        self._sent: set[int] = set()
        self._standing = np.empty(0, np.int64)  # the canvas as the browser has it
        self._free = np.empty(0, np.int64)  # where it may change
        self._process = trace.checkpoint.get("process", "absorbing")  # not told by runs of earlier versions

    def open(self) -> str:
        """The run from its beginning."""
        segment = self.trace.segments[0]
        self._stand(segment)
        return self._message("open", self._ids_of(segment), head=self._head(), segment=self._segment(segment))

    def branch(self, source: str, step: int, edited: bool, source_segment: int | None) -> str:
        """The run as another run's continuation from `step`; `edited` when a new segment begins there."""
        last = self.trace.segments[-1]
        for segment in self.trace.segments[:-1] if edited else self.trace.segments:
            self._sent |= self._ids_of(segment)
        self._sent |= {int(token) for frame in self.trace.frames for token in (*frame.ids.ravel(), *frame.tokens)}
        self._stand(last, self.trace.tokens_at(step).numpy())
        return self._message(
            "branch",
            self._ids_of(last),
            **{"from": source},
            step=step,
            fromSegment=source_segment,
            head=self._head(),
            segment=self._segment(last) if edited else None,
        )

    def frame(self, frame: Frame) -> str:
        """One step: some kilobytes at most, see `python -m ddemo bench`."""
        candidates: dict[str, Any] = {"fresh": frame.fresh}
        if frame.fresh:
            candidates |= {
                "at": self._asked(frame),
                "h": _pack(np.rint(frame.entropy / self._top_entropy() * 255).clip(0, 255).astype(np.uint8)),
                "ids": _pack(frame.ids.astype(self._id_type())),
                "p": _pack(np.rint(np.sqrt(frame.probabilities) * 255).clip(0, 255).astype(np.uint8)),
            }
        if len(frame.distance):  # of latents: to the nearest word, and how much farther the second is
            candidates |= {"near": _hundredths(frame.distance), "lead": _hundredths(frame.margin)}
        self._standing[frame.written] = frame.tokens
        written = [
            [position, token, round(chosen, 4)]
            for position, token, chosen in zip(
                frame.written.tolist(), frame.tokens.tolist(), frame.chosen.tolist(), strict=True
            )
        ]
        return self._message(
            "frame",
            {*frame.ids.ravel().tolist(), *frame.tokens.tolist()},
            step=frame.step,
            t=round(frame.s, 6),
            nfe=frame.nfe,
            set=written,
            **candidates,
        )

    def end(self, say: str = "") -> str:
        """The run is over; `rows` is what a second look at it costs, in denoiser rows (see `ddemo.rescoring`)."""
        return self._message(
            "end",
            (),
            state=self.trace.state,
            say=say,
            seconds=round(self.trace.seconds, 3),
            rows={
                "final": final_scores_cost(self.trace),
                "hazard": hazard_cost(self.trace) if self._process == "absorbing" else None,
            },
        )

    def scores(self, number: int | None = None) -> str:
        """What was worked out of the run after its end; `number` is the message's, where others wrote those before.

        The arrays are those of the trace: of every frame's asked positions, and of every frame's written ones.
        """
        if number is not None:
            self._number = number
        trace, content = self.trace, {}
        if trace.final_scores is not None:
            final, rank = trace.final_scores, self._rank_type()
            content["final"] = {
                "steps": final.steps,
                "bytes": rank.itemsize,
                "p": _pack(np.rint(np.sqrt(final.probability) * 65535).astype("<u2")),
                "rank": _pack(final.rank.astype(rank)),
            }
        if trace.hazard is not None:
            chosen = [frame.chosen for frame in trace.frames[: trace.hazard.steps]]
            content["hazard"] = {
                "steps": trace.hazard.steps,
                "p": _pack(trace.hazard.probability.astype("<f4")),
                "was": _pack(np.concatenate([np.empty(0), *chosen]).astype("<f4")),
            }
        return self._message("scores", (), **content)

    def whole(self) -> str:
        """Everything in one message, for a stored run or a replay."""
        parts = [self.open()]
        for index, segment in enumerate(self.trace.segments):
            if index:
                self._stand(segment)
                parts.append(self._message("segment", self._ids_of(segment), segment=self._segment(segment)))
            after = self.trace.segments[index + 1].clock.first if index + 1 < len(self.trace.segments) else math.inf
            parts += [self.frame(frame) for frame in self.trace.frames if segment.clock.first < frame.step <= after]
        parts.append(self.end())
        if self.trace.final_scores is not None or self.trace.hazard is not None:
            parts.append(self.scores())
        return f'{{"k":"trace","run":{json.dumps(self.run)},"m":[{",".join(parts)}]}}'

    def _stand(self, segment: Segment, tokens: np.ndarray | None = None) -> None:
        """From here on the browser has this segment's canvas, or `tokens` on it."""
        self._standing = segment.canvas.tokens.numpy().copy() if tokens is None else tokens
        self._free = np.flatnonzero(~segment.canvas.fixed.numpy())

    def _message(self, kind: str, mentioned, /, **content) -> str:
        fresh = sorted(set(mentioned) - self._sent)
        self._sent.update(fresh)
        message = {"k": kind, "run": self.run, "n": self._number, **content}
        if fresh:
            message["vocab"] = {str(token): pack_piece(self.trace.pieces[token]) for token in fresh}
        self._number += 1
        return dump(message)

    def _head(self) -> dict[str, Any]:
        trace, config = self.trace, self.trace.config
        sampler = SAMPLERS[config.sampler]
        return {
            "checkpoint": trace.checkpoint["id"],
            "device": trace.checkpoint["device"],
            "mask": trace.mask_id,
            "limit": int(trace.checkpoint["max_length"]),
            "steps": trace.segments[-1].clock.last,
            "noise": self._process,
            "rewrites": sampler.may_rewrite(self._process),
            "sampler": sampler.title,
            # A sampler that draws no token, or is greedy by definition, has no such word: its title says what it is.
            "draw": None if sampler.greedy or not sampler.draws else "argmax" if config.greedy else "sample",
            "temperature": config.temperature,
            "seed": config.seed,
            "note": self.note,
            "k": self._candidates(),
            "id_bytes": self._id_type().itemsize,
            "hmax": self._top_entropy(),
            "vocab_size": int(trace.checkpoint["vocab_size"]),
            "settings": config.as_dict(),
        }

    def _candidates(self) -> int:
        widths = {frame.ids.shape[1] for frame in self.trace.frames if frame.fresh}
        return max(widths, default=self.trace.config.candidates)

    def _segment(self, segment: Segment) -> dict[str, Any]:
        clock = segment.clock
        return describe(segment.canvas, self.trace.mask_id) | {
            "step": clock.first,
            "last": clock.last,
            "t": clock.start,
            **({"from": list(segment.kept)} if segment.kept else {}),
        }

    def _ids_of(self, segment: Segment) -> set[int]:
        return set(segment.canvas.tokens.tolist())

    def _id_type(self) -> np.dtype:
        return np.dtype("<u2" if int(self.trace.checkpoint["vocab_size"]) <= 2**16 else "<u4")

    def _rank_type(self) -> np.dtype:
        return np.dtype("<u2" if int(self.trace.checkpoint["vocab_size"]) < 2**16 else "<u4")

    def _top_entropy(self) -> float:
        """Entropy of a uniform guess over the vocabulary, in nats."""
        return round(math.log(int(self.trace.checkpoint["vocab_size"])), 4)

    def _asked(self, frame: Frame) -> list[int] | str | None:
        """Where the denoiser was asked: None for all masks, "free" for all that is not fixed, else a list."""
        masked = np.flatnonzero(self._standing == self.trace.mask_id)
        if np.array_equal(masked, frame.positions):
            return None
        return "free" if np.array_equal(self._free, frame.positions) else frame.positions.tolist()


def draft(run: str, canvas: Canvas, codec: TextCodec, head: dict[str, Any], tail: int) -> str:
    """What a visitor has typed, as tokens, before any run; the last `tail` masks stand for the length asked for."""
    vocab = {str(token): pack_piece(codec.piece(token)) for token in sorted(set(canvas.tokens.tolist()))}
    segment = describe(canvas, codec.mask_id) | {"step": 0, "t": 1.0, "tail": tail}
    return dump({"k": "draft", "run": run, "n": 0, "head": head, "vocab": vocab, "segment": segment})


def say(text: str) -> str:
    """A sentence instead of a draft or a run; numbered, since a value that stays the same is not delivered."""
    return dump({"k": "say", "text": text, "id": next(_said)})


def wait(text: str) -> str:
    """As `say`, about what is being waited for: nothing on the canvas can be edited until a message comes."""
    return dump({"k": "wait", "text": text, "id": next(_said)})


def describe(canvas: Canvas, mask_id: int) -> dict[str, Any]:
    """A canvas for the browser."""
    return {
        "tokens": canvas.tokens.tolist(),
        "fixed": canvas.fixed.nonzero().squeeze(-1).tolist(),
        "forced": sorted(canvas.forced),
        "locked": sorted(canvas.locked),
        "spaced": (canvas.spacing & Spacing.SPACE_FIRST).nonzero().squeeze(-1).tolist(),
        "unspaced": (canvas.spacing & Spacing.NO_SPACE_FIRST).nonzero().squeeze(-1).tolist(),
        "own": {str(position): text for position, text in canvas.own.items()},
        "masks": int((canvas.tokens == mask_id).sum()),
    }


def dump(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _hundredths(numbers: np.ndarray) -> str:
    return _pack(np.rint(numbers * 100).clip(0, 65535).astype("<u2"))
