"""Arguments of `python app.py`, and launching the page."""

import argparse
import logging
import os
import sys
from typing import NoReturn

from ddemo.denoisers.loading import DEFAULT_CHECKPOINT, DEVICES, DTYPES
from ddemo.errors import InputError


def parser() -> argparse.ArgumentParser:
    on_space = "SPACE_ID" in os.environ
    parse = argparse.ArgumentParser(prog="app.py", description="ddemo: watch and steer a discrete-diffusion model.")
    parse.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0" if on_space else "127.0.0.1"))
    parse.add_argument("--port", type=port_number, default=os.environ.get("GRADIO_SERVER_PORT", "7860"))
    parse.add_argument(
        "--checkpoint",
        action="append",
        metavar="NAME",
        help="what is offered: a shipped id, a directory, or owner/name of one that was fetched from the Hub; may be "
        f"given several times, and the first opens the page (default: {DEFAULT_CHECKPOINT})",
    )
    parse.add_argument("--device", default="auto", choices=DEVICES)
    parse.add_argument("--dtype", default="auto", choices=("auto", *DTYPES))
    parse.add_argument(
        "--public",
        action="store_true",
        default=on_space,
        help="visitors choose among the checkpoints that are listed with --checkpoint, or the shipped ones, and no "
        "others; on by itself in a Space",
    )
    parse.add_argument("--force", action="store_true", help="load them even if they do not fit into the memory")
    parse.add_argument("--judge", help="a causal language model that judges texts: a path, a Hub id or none")
    parse.add_argument("--share", action="store_true", help="a public link through Gradio's servers")
    return parse


def run() -> NoReturn:
    """`main` as a program: it ends at once, since a thread inside torch aborts a Python that winds itself up."""
    status: str | int | None = 0
    try:
        main()
    except SystemExit as ended:
        status = ended.code
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def main(arguments: list[str] | None = None) -> None:
    """Build the page and serve it until interrupted; what cannot be done is one sentence on stderr."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        serve(options)
    except InputError as problem:
        sys.exit(f"app.py: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


def serve(options: argparse.Namespace) -> None:
    """Raises InputError for a checkpoint that cannot be loaded, or an address that cannot be listened on."""
    from ddemo.ui import Shelf, build_demo, launch_arguments  # slow to import, so after the arguments are read

    shelf = Shelf.of(options.checkpoint or (), options.device, options.dtype, options.public, options.force)
    demo = build_demo(shelf, options.judge)
    shelf.default.start()
    look = launch_arguments()
    try:
        demo.launch(server_name=options.host, server_port=options.port, share=options.share, **look)
    except OSError:
        place = f"{options.host}:{options.port}"
        raise InputError(f"{place} cannot be listened on: is another server there? Try --port.") from None


def port_number(text: str) -> int:
    """An argument's port, refused by argparse with its range."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a port from 1 to 65535")
    return int(text)
