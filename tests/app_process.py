"""The real page as a process of its own: started, asked, and ended by tests."""

import http.client
import os
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 120  # seconds that a start may take on a busy machine


class AppProcess:
    """A command that serves a page on `port`, its output kept in `log`."""

    def __init__(self, command: Sequence[str], port: int, log: Path, directory: Path, environment: dict[str, str]):
        self.port, self.log = port, log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def processor_seconds(self) -> float:
        """Processor time that it has used so far."""
        spent = psutil.Process(self._process.pid).cpu_times()
        return spent.user + spent.system

    def get(self, path: str = "/") -> str:
        """The body of a page; AssertionError unless its status is 200, OSError where nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, f"{path} answered {answer.status}"
            return answer.read().decode()
        finally:
            connection.close()

    def wait_until_ready(self) -> None:
        """Until the page answers and the command says so; AssertionError when it ends first or takes too long."""
        limit = time.monotonic() + PATIENCE
        while not ("Running on" in self.output and self._answers()):
            assert self._process.poll() is None, f"ended before it was ready:\n{self.output}"
            assert time.monotonic() < limit, f"not ready within {PATIENCE} s:\n{self.output}"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return bool(self.get())
        except OSError:
            return False

    def end(self, by: signal.Signals = signal.SIGTERM, within: float = 30) -> int:
        """Send a signal and wait; the exit status, negative for a signal that was not handled."""
        self._process.send_signal(by)
        return self._process.wait(within)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


@contextmanager
def serving(
    command: Sequence[str],
    port: int,
    scratch: Path,
    directory: Path = ROOT,
    environment: dict[str, str] | None = None,
) -> Iterator[AppProcess]:
    """Run `command` in `directory` until its page answers; it is killed at the end if it still runs."""
    app = AppProcess(command, port, scratch / "app.log", directory, environment or clean_environment())
    try:
        app.wait_until_ready()
        yield app
    finally:
        app.kill()


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment less what would change how the app starts."""
    ours = ("GRADIO_", "HF_", "SPACE_ID", "PYTHONPATH", "PYTHONHOME")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONUNBUFFERED": "1"} | more


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Outside(socketserver.ThreadingTCPServer):
    """A proxy that lets nobody out and keeps the first line of each request: who wanted to leave the machine."""

    daemon_threads = True

    def __init__(self):
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Refusal)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def environment(self) -> dict[str, str]:
        """Variables that send a process's requests here, those to this machine excepted."""
        proxy = f"http://127.0.0.1:{self.server_address[1]}"
        names = ("http_proxy", "https_proxy", "all_proxy")
        variables = dict.fromkeys(names, proxy) | {"no_proxy": "127.0.0.1,localhost"}
        return variables | {name.upper(): value for name, value in variables.items()}


class _Refusal(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.server.asked.append(self.rfile.readline().decode(errors="replace").strip())
