"""Tests that drive a real Chromium: where to find one, and what to do where there is none."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.app_process import AppProcess, clean_environment, free_port, serving
from tests.browser.paced_app import write_pace
from tests.browser.visitor import Visitor

NAMES = ("chromium", "chromium-browser", "google-chrome")
LAUNCH = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test and say why; where CI=true, nothing may be missing and the test fails instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: this may not be skipped)", pytrace=False)
    pytest.skip(reason)


def find_chromium() -> str | None:
    """$CHROMIUM, a path or a command, if it is set; otherwise the first of `NAMES` on the PATH."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named) or (named if Path(named).is_file() else None)
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The Chromium to launch; the test skips where there is none, and fails there with CI=true."""
    found = find_chromium()
    if found is None:
        named = os.environ.get("CHROMIUM")
        looked = f"CHROMIUM={named} is not there" if named else f"none of {', '.join(NAMES)} is on the PATH"
        skip_or_fail(f"No Chromium for the browser tests: {looked}.")
    return found


class PacedApp:
    """The running app, and a hand on its denoiser."""

    def __init__(self, process: AppProcess, pace: Path):
        self.url, self._process, self._pace = process.url, process, pace

    def allow(self, calls: int) -> None:
        """Let so many denoiser calls through; the one after them waits."""
        write_pace(self._pace, calls)

    def allow_all(self) -> None:
        self._pace.unlink(missing_ok=True)

    @property
    def calls_left(self) -> int:
        return int(self._pace.read_text())

    @property
    def output(self) -> str:
        return self._process.output

    @property
    def processor_seconds(self) -> float:
        return self._process.processor_seconds


@pytest.fixture(scope="package")
def _app(tiny_directory, tmp_path_factory) -> Iterator[PacedApp]:
    scratch = tmp_path_factory.mktemp("browser")
    pace, port = scratch / "pace", free_port()
    command = [sys.executable, "-m", "tests.browser.paced_app", str(pace)]
    command += ["--port", str(port), "--checkpoint", str(tiny_directory), "--device", "cpu", "--judge", "none"]
    with serving(command, port, scratch, environment=clean_environment(OMP_NUM_THREADS="1")) as process:
        yield PacedApp(process, pace)


@pytest.fixture(scope="package")
def browser(chromium_path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium_path, args=LAUNCH)


@pytest.fixture
def app(_app) -> Iterator[PacedApp]:
    """The app on a tiny random checkpoint (64 tokens at most), unheld before and after."""
    yield _app
    _app.allow_all()


@contextmanager
def page_of(directory: Path, scratch: Path) -> Iterator[str]:
    """The address of a page that opens with the checkpoint in a directory."""
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--checkpoint", str(directory)]
    command += ["--device", "cpu", "--judge", "none"]
    with serving(command, port, scratch, environment=clean_environment(OMP_NUM_THREADS="1")) as process:
        yield process.url


@contextmanager
def visiting(browser: Browser, url: str) -> Iterator[Visitor]:
    """A visitor at an address, whose page may not complain."""
    visitor = Visitor(browser.new_context(viewport={"width": 1440, "height": 1000}), url)
    yield visitor
    complaints = list(visitor.complaints)
    visitor.leave()
    assert not complaints, complaints


@pytest.fixture
def arrive(app, browser) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, each in a browser context of its own (its arguments are Playwright's).

    At the end no page may have complained, opened a dialog or asked anything of another machine.
    """
    visitors: list[Visitor] = []

    def arrive(query: str = "", **context) -> Visitor:
        context = {"viewport": {"width": 1440, "height": 1000}} | context
        visitors.append(Visitor(browser.new_context(**context), app.url, query))
        return visitors[-1]

    yield arrive
    app.allow_all()
    complaints = [visitor.complaints for visitor in visitors]
    for visitor in visitors:
        visitor.leave()
    assert not any(complaints), complaints


@pytest.fixture
def visitor(arrive) -> Visitor:
    """One visitor at a desk, the page open."""
    return arrive()
