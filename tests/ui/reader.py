"""A reader of the messages to the browser, written from their description and not from the code that writes them."""

import base64
import json
import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Stop:
    """The canvas after a step, as a browser would show it.

    Attributes:
        step: the step.
        tokens: ids from left to right.
        written: (position, id, probability) of what the step wrote; None where a segment begins.
        look: position -> (entropy in nats, ids, probabilities) of the step's prediction.
        t, nfe: as sent; None where a segment begins.
        segment: what was sent of the canvas, where a segment begins.
    """

    step: int
    tokens: list[int]
    written: list | None = None
    look: dict[int, tuple[float, list[int], list[float]]] = field(default_factory=dict)
    t: float | None = None
    nfe: int | None = None
    segment: dict | None = None


@dataclass
class ReadRun:
    """A run as far as its messages have come.

    Attributes:
        sent: ids whose text came in this run or, for a branch, in the part of the other run that it keeps.
    """

    head: dict
    vocab: dict[int, bytes]
    stops: list[Stop]
    sent: set[int] = field(default_factory=set)
    messages: int = 0
    end: dict | None = None

    @property
    def steps(self) -> list[Stop]:
        return [stop for stop in self.stops if stop.written is not None]

    @property
    def tokens(self) -> list[int]:
        return self.stops[-1].tokens

    def text(self) -> str:
        """The last canvas: the visitor's own characters where they were sent, masks as [MASK]."""
        own = next(stop.segment["own"] for stop in reversed(self.stops) if stop.segment is not None)
        parts, pending = [], b""
        for position, token in enumerate(self.tokens):
            instead = own.get(str(position), "[MASK]" if token == self.head["mask"] else None)
            if instead is None:
                pending += self.vocab[token]
            else:
                parts += [pending.decode("utf-8", "replace"), instead]
                pending = b""
        return "".join([*parts, pending.decode("utf-8", "replace")])


class Reader:
    """Applies messages in order and checks on the way what holds for every one of them."""

    def __init__(self):
        self.runs: dict[str, ReadRun] = {}
        self.said: list[str] = []
        self.last: ReadRun | None = None

    def take(self, text: str) -> ReadRun | None:
        """The run that the message belongs to, after it; None for a sentence."""
        message = json.loads(text)
        if message["k"] in ("say", "wait"):
            self.said.append(message["text"])
            return None
        for part in message["m"] if message["k"] == "trace" else [message]:
            assert part["run"] == message["run"]
            self._apply(part)
        self.last = self.runs[message["run"]]
        return self.last

    def _apply(self, message: dict) -> None:
        begin = {"open": self._open, "branch": self._branch, "draft": self._open}.get(message["k"])
        run = begin(message) if begin else self.runs[message["run"]]
        assert message["n"] == run.messages, "messages are numbered without a gap"
        run.messages += 1
        self.runs[message["run"]] = run
        for token, piece in message.get("vocab", {}).items():
            assert int(token) not in run.sent, f"token {token} was sent twice"
            run.sent.add(int(token))
            run.vocab[int(token)] = piece.encode() if isinstance(piece, str) else bytes(piece)
        {"frame": self._frame, "segment": self._segment, "end": self._end}.get(message["k"], _nothing)(run, message)
        assert set(run.tokens) <= set(run.vocab), "a token that stands on the canvas was never spelt"

    def _open(self, message: dict) -> ReadRun:
        segment = message["segment"]
        assert segment["masks"] == segment["tokens"].count(message["head"]["mask"])
        return ReadRun(message["head"], {}, [Stop(segment["step"], segment["tokens"], segment=segment)])

    def _branch(self, message: dict) -> ReadRun:
        source = self.runs[message["from"]]
        kept = [stop for stop in source.stops if stop.step <= message["step"]]
        if message["fromSegment"] is not None:
            begins = [index for index, stop in enumerate(kept) if stop.segment is not None]
            if message["fromSegment"] + 1 < len(begins):
                kept = kept[: begins[message["fromSegment"] + 1]]
        assert kept[-1].step == message["step"]
        run = ReadRun(message["head"], dict(source.vocab), kept, set().union(*map(_mentioned, kept)))
        if message["segment"] is not None:
            self._segment(run, message)
        return run

    def _segment(self, run: ReadRun, message: dict) -> None:
        segment = message["segment"]
        run.stops.append(Stop(segment["step"], segment["tokens"], segment=segment))

    def _frame(self, run: ReadRun, message: dict) -> None:
        assert message["step"] == run.stops[-1].step + 1, "steps come without a gap"
        before, tokens = run.tokens, list(run.tokens)
        for position, token, _ in message["set"]:
            assert token in run.vocab
            tokens[position] = token
        fixed = next(stop.segment["fixed"] for stop in reversed(run.stops) if stop.segment is not None)
        look = _look(message, before, fixed, run.head) if message["fresh"] else {}
        assert {token for _, ids, _ in look.values() for token in ids} <= set(run.vocab)
        run.stops.append(Stop(message["step"], tokens, message["set"], look, message["t"], message["nfe"]))

    def _end(self, run: ReadRun, message: dict) -> None:
        run.end = message


def _mentioned(stop: Stop) -> set[int]:
    return {*stop.tokens, *(token for _, ids, _ in stop.look.values() for token in ids)}


def _nothing(run: ReadRun, message: dict) -> None:
    pass


def _look(message: dict, before: list[int], fixed: list[int], head: dict) -> dict:
    positions = message["at"]
    if positions == "free":
        positions = [position for position in range(len(before)) if position not in fixed]
    elif positions is None:
        positions = [position for position, token in enumerate(before) if token == head["mask"]]
    rows, k = len(positions), head["k"]
    entropy = np.frombuffer(base64.b64decode(message["h"]), np.uint8) / 255 * head["hmax"]
    ids = np.frombuffer(base64.b64decode(message["ids"]), {2: "<u2", 4: "<u4"}[head["id_bytes"]]).reshape(rows, k)
    probabilities = (np.frombuffer(base64.b64decode(message["p"]), np.uint8).reshape(rows, k) / 255) ** 2
    assert len(entropy) == rows
    return {
        position: (entropy[row].item(), ids[row].tolist(), probabilities[row].tolist())
        for row, position in enumerate(positions)
    }


def probability_bound(p: float) -> float:
    """How far a probability may be from what was sent for it: half a level of its square root in 255 levels."""
    half = 0.5 / 255
    return 2 * math.sqrt(p) * half + half**2 + 1e-6


def entropy_bound(hmax: float) -> float:
    """Half a level of 255, and what rounding hmax to four digits may cut off at its top."""
    return hmax * 0.5 / 255 + 1e-4
