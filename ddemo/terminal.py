"""What all commands of `python -m ddemo` share: the checkpoint that was asked for, results, a progress bar."""

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import Any

DEFAULT = "(default: %(default)s)"  # in a help text: argparse fills it in


def load(options: argparse.Namespace):
    """The checkpoint that the options name. Raises InputError as `load_checkpoint`."""
    from ddemo.denoisers import load_checkpoint

    return load_checkpoint(options.checkpoint, options.device, options.dtype, options.force)


def show(options: argparse.Namespace, report: dict[str, Any], text: str) -> None:
    """A result on stdout: as text, or with --json as a report."""
    print(json.dumps(_numbers_only(report), ensure_ascii=False) if options.json else text)


def _numbers_only(report: dict[str, Any]) -> dict[str, Any]:
    """The report with null where a value is not a number, which JSON cannot say: one window has no error bar."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in report.items()}


class progress_bar:
    """A tqdm bar on stderr as a context manager, giving a callback (done, total)."""

    def __init__(self, unit: str, unit_scale: bool = False):
        from tqdm import tqdm

        self._bar = tqdm(unit=unit if unit_scale else f" {unit}", unit_scale=unit_scale, file=sys.stderr)

    def __enter__(self) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)

        return tell

    def __exit__(self, *_) -> None:
        self._bar.close()
