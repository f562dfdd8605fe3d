"""A visitor's edits of a canvas, and where a run goes on from."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ddemo.denoisers.codec import TextCodec
from ddemo.errors import InputError
from ddemo.processes import LINEAR, SCHEDULES
from ddemo.sampling.canvas import Canvas, CanvasBuilder, Spacing
from ddemo.sampling.clock import Clock, clock_from
from ddemo.sampling.config import SamplerConfig, quoted

CELL_KEYS = {"from", "mask", "id", "text", "lock"}


class Edited(NamedTuple):
    """A canvas after a visitor's edits.

    Attributes:
        canvas: the edited one.
        edits: a plain record of each edit.
        kept: where each position stood before, -1 for what is new there.
    """

    canvas: Canvas
    edits: list[dict[str, Any]]
    kept: tuple[int, ...]


def edited_canvas(
    canvas: Canvas, cells: Sequence[dict[str, Any]], codec: TextCodec, never, max_length: int, must_mask: bool = True
) -> Edited:
    """The canvas that the edited row of cells describes.

    A cell is {"from": position} for a token as it stands, with "mask": true to mask it, "id": token to
    force a candidate there, "text": characters to type over it, "lock": true to hold it; {"mask": true} alone
    is a new mask. Positions left out are deleted.

    Args:
        canvas: the canvas at the step on show.
        cells: the row from left to right; untrusted.
        codec: the checkpoint's codec.
        never: [V] bool, tokens that may not be forced.
        max_length: the checkpoint's limit in tokens.
        must_mask: whether a row without masks leaves nothing to do, as it does unless noise is words.

    Raises:
        InputError: a cell that means nothing, a canvas that is empty or too long, or nothing to fill.
    """
    if not isinstance(cells, list | tuple) or len(cells) > 4 * max_length:
        raise InputError(f"The edited canvas must be a list of at most {4 * max_length} cells.")
    builder = CanvasBuilder(codec)
    edits: list[dict[str, Any]] = []
    origin: list[int] = []
    shown = codec.aligned(canvas.tokens.tolist())
    for cell in cells:
        _add_cell(builder, edits, canvas, shown, _checked(cell, canvas, never))
        stays = not (cell.get("mask") or cell.keys() & {"id", "text"})
        origin += [cell["from"] if stays else -1] * (len(builder.tokens) - len(origin))
        if len(builder.tokens) > max_length:
            raise InputError(f"With these edits the canvas has more than the {max_length} tokens of this checkpoint.")
    kept = {cell.get("from") for cell in cells}
    edits += [{"edit": "delete", "at": position} for position in range(len(canvas)) if position not in kept]
    if must_mask and codec.mask_id not in builder.tokens:
        raise InputError("Nothing is masked, so there is nothing to fill: mask a word and continue.")
    if all(builder.fixed):
        raise InputError("Every word is held, so nothing can change: let one go or mask one, and continue.")
    _guard_spacing(builder)
    return Edited(builder.build(), edits, tuple(origin))


def clock_after_edits(
    canvas: Canvas, mask_id: int, step: int, config: SamplerConfig, time: float = 0.0, anew: bool = False
) -> Clock:
    """Time goes on from where that share of free positions would be masked, at the run's own stride of 1 / steps.

    Where the tokens that stand are noised as well, as under uniform noise, `time` says how much; it goes on from
    there at the least. With `anew` any mask takes it back to t = 1: latents begin in noise, and the others wait.
    """
    share = int((canvas.tokens == mask_id).sum()) / int((~canvas.fixed).sum())
    share = math.ceil(share) if anew else share
    start = max(time, (SCHEDULES[config.schedule] if config.schedule else LINEAR).time_at(1.0 - share))
    return clock_from(canvas, config, mask_id, step, start, math.ceil(start * config.steps - 1e-9))


def _checked(cell: Any, canvas: Canvas, never) -> dict[str, Any]:
    source = cell.get("from") if isinstance(cell, dict) else None
    known = isinstance(cell, dict) and set(cell) <= CELL_KEYS and (source is not None or cell.get("mask") is True)
    known = known and all(type(cell.get(key, False)) is bool for key in ("mask", "lock"))
    if not known or not (source is None or (type(source) is int and 0 <= source < len(canvas))):
        raise InputError(f"This edit cannot be read: {quoted(cell, 60)}.")
    forced = cell.get("id")
    if "id" in cell and not (type(forced) is int and 0 <= forced < len(never) and not never[forced]):
        raise InputError(f"Token {quoted(forced, 20)} cannot be put on the canvas.")
    if "text" in cell and not (isinstance(cell["text"], str) and 0 < len(cell["text"]) <= 1000):
        raise InputError("A token can be replaced by 1 to 1,000 characters.")
    return cell


def _add_cell(builder: CanvasBuilder, edits: list, canvas: Canvas, shown: list[str], cell: dict[str, Any]) -> None:
    source, here = cell.get("from"), len(builder.tokens)
    if "text" in cell:
        positions = builder.add_text(cell["text"])
        builder.forced.update(positions)
        edits.append({"edit": "type", "at": here, "text": cell["text"]})
    elif "id" in cell:
        builder.forced.add(builder.add_token(cell["id"], fixed=True))
        edits.append({"edit": "force", "at": here, "id": cell["id"]})
    elif cell.get("mask"):
        _add_mask(builder, edits, canvas, shown, source)
    else:
        _keep(builder, edits, canvas, source, bool(cell.get("lock")))
    if cell.get("lock") and ("text" in cell or "id" in cell):
        builder.locked.update(range(here, len(builder.tokens)))


def _add_mask(builder: CanvasBuilder, edits: list, canvas: Canvas, shown: list[str], source: int | None) -> None:
    spacing, fresh = Spacing.FREE, True
    if source is not None:
        fresh = int(canvas.tokens[source]) != builder.codec.mask_id
        spacing = Spacing(int(canvas.spacing[source]))
        opens_run = not builder.tokens or builder.tokens[-1] != builder.codec.mask_id
        if canvas.fixed[source] and fresh and opens_run:
            text = canvas.own.get(source, shown[source])
            spacing = Spacing.SPACE_FIRST if text.startswith(" ") else Spacing.NO_SPACE_FIRST
    here = builder.add_token(builder.codec.mask_id, fixed=False, spacing=spacing)
    if fresh:
        edits.append({"edit": "mask", "at": here})


def _keep(builder: CanvasBuilder, edits: list, canvas: Canvas, source: int, lock: bool) -> None:
    token, was_locked, was_forced = int(canvas.tokens[source]), source in canvas.locked, source in canvas.forced
    of_prompt = bool(canvas.fixed[source]) and not (was_locked or was_forced)
    lock = lock and not of_prompt and token != builder.codec.mask_id  # neither needs holding, nor can be let go
    here = builder.add_token(token, fixed=lock or was_forced or of_prompt, spacing=int(canvas.spacing[source]))
    if source in canvas.own:
        builder.own[here] = canvas.own[source]
    if was_forced:
        builder.forced.add(here)
    if lock:
        builder.locked.add(here)
    if lock != was_locked:
        edits.append({"edit": "lock" if lock else "unlock", "at": here})


def _guard_spacing(builder: CanvasBuilder) -> None:
    """A masked run in front of fixed text must not end in a space of its own."""
    mask_id = builder.codec.mask_id
    for position in range(len(builder.tokens) - 1):
        if builder.tokens[position] == mask_id and builder.fixed[position + 1]:
            builder.spacing[position] |= int(Spacing.NO_SPACE_LAST)
