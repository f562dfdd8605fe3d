"""`python -m ddemo fetch` and `models`: checkpoints of the Hub on the command line."""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from ddemo.errors import InputError
from ddemo.terminal import DEFAULT, progress_bar, show


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add both to the parser of `python -m ddemo`."""
    fetching = add(fetch, loads=False)
    fetching.add_argument("id", help="owner/name on the Hub, or owner/name@revision")
    fetching.add_argument("--dry-run", action="store_true", help="say what would be fetched, and whether it fits")
    listing = add(models, loads=False)
    listing.add_argument(
        "search", nargs="?", default="", help="only those that have this in their id, family or noise"
    )
    listing.add_argument("--json", action="store_true")
    for command in (fetching, listing):
        command.add_argument("--device", default="auto", help="where it is to run, for the estimate of its memory")
        command.add_argument("--dtype", default="auto", help="type of the weights there")
        command.add_argument("--length", type=int, default=128, help=f"tokens of the canvas {DEFAULT}")
        command.add_argument("--lanes", type=int, default=4, help=f"how many at once {DEFAULT}")
        command.add_argument(
            "--cache", action="store_true", help="count keys and values that are kept by blocks, too"
        )


def fetch(options: argparse.Namespace) -> None:
    """Download a checkpoint from the Hub into its cache; a download that was broken off goes on."""
    from ddemo.denoisers import find_checkpoint, hub, load_codec
    from ddemo.denoisers.fit import fit, in_bytes, size_of_download
    from ddemo.denoisers.loading import cached_checkpoint, check_supported

    _, use, free = _wanted(options)
    if options.dry_run or not cached_checkpoint(options.id):
        planned = hub.plan(options.id)
        check_supported(planned.config, planned.id.repository)
        held = fit(size_of_download(planned.config, planned.parameters, planned.weights), use, free)
        print(
            f"{planned.id.repository} at commit {planned.commit[:12]}: {len(planned.files)} files, "
            f"{in_bytes(planned.bytes)}, of which {_amount(planned.missing)} to fetch; {in_bytes(planned.free)} of "
            f"the disk is free. {held.sentence}"
        )
        if options.dry_run:
            return
        with progress_bar("B", unit_scale=True) as tell:
            hub.download(planned, tell)
    directory = find_checkpoint(options.id)
    load_codec(directory)  # fetches the tokenizer that a checkpoint without one borrows
    print(f"{options.id} is in the cache: use it as --checkpoint {options.id}")


def models(options: argparse.Namespace) -> None:
    """The catalog of checkpoints on the Hub, and whether they fit on this machine."""
    from ddemo.denoisers.catalog import catalog

    device, use, free = _wanted(options)
    wanted = options.search.lower()
    rows = [
        _row(entry, use, free)
        for entry in catalog().values()
        if wanted in entry.id.lower() or wanted in entry.family or wanted in entry.process
    ]
    if not rows:
        raise InputError(f"The catalog has no checkpoint with {options.search[:80]!r} in its id, family or noise.")
    told = {"device": device.type, "free": free, "use": str(use), "checkpoints": rows}
    show(options, told, "\n".join(_lines(rows, device.type, use, free)))


def _wanted(options: argparse.Namespace) -> tuple[Any, Any, int]:
    """Device, use and free memory of the options. Raises InputError."""
    from ddemo.denoisers.fit import Use, free_memory
    from ddemo.denoisers.loading import pick_device, pick_dtype

    if options.length < 1 or options.lanes < 1:
        raise InputError("length and lanes must be 1 or more.")
    device = pick_device(options.device)
    dtype = str(pick_dtype(options.dtype, device)).removeprefix("torch.")
    return device, Use(dtype, options.length, options.lanes, options.cache), free_memory(device)


def _row(entry: Any, use: Any, free: int) -> dict[str, Any]:
    """An entry of the catalog as a record, with what its weights alone need here."""
    from ddemo.denoisers.fit import Size, fit
    from ddemo.denoisers.loading import cached_checkpoint

    row = {name: getattr(entry, name) for name in ("id", "revision", "family", "process", "parameters", "bytes")}
    row |= {name: getattr(entry, name) for name in ("licence", "context", "sampler", "source", "note")}
    row |= {"settings": dict(entry.settings), "try": entry.try_, "cached": cached_checkpoint(entry.id) is not None}
    held = fit(Size(entry.parameters), use, free) if entry.parameters else None
    return row | {"weights": held.need.weights if held else None, "fit": held.verdict if held else None}


def _lines(rows: list[dict[str, Any]], device: str, use: Any, free: int) -> Iterator[str]:
    from ddemo.denoisers.fit import in_bytes

    yield f"{in_bytes(free)} is free on {device}; weights in {use.dtype}. A run needs more: fetch --dry-run."
    for row in rows:
        size = in_bytes(row["bytes"]) if row["bytes"] else "size unknown"
        fits = row["fit"] or "memory unknown"
        yield ""
        yield f"{row['id']}{' (in the cache)' if row['cached'] else ''}"
        yield (
            f"    {row['family']}, {row['process']} noise, {size}, licence {row['licence'] or 'unknown'}; "
            f"{'its weights need ' + in_bytes(row['weights']) + ': ' + fits if row['weights'] else fits}"
        )
        settings = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in row["settings"].items())
        yield f"    --sampler {row['sampler']} {settings}".rstrip()
        yield f"    {row['try']}{' ' + row['note'] if row['note'] else ''}"


def _amount(count: int) -> str:
    from ddemo.denoisers.fit import in_bytes

    return in_bytes(count) if count else "nothing"
