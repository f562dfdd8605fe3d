"""A page on a free port, and visitors that speak to it as a browser or an API client does."""

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from ddemo.sampling import SAMPLERS
from ddemo.settings import SETTINGS
from ddemo.ui import build_demo, launch_arguments
from ddemo.ui.chosen import kind_of
from ddemo.ui.controls import Controls
from ddemo.ui.shelf import Shelf

TIMEOUT = 60


def settings_values(controls: Controls, **settings: Any) -> list[Any]:
    """The value of each control as a page has it where a visitor chose `settings`."""
    name = settings.get("sampler", controls.usual.sampler.name)
    values = {name: SETTINGS[name].default for name in controls.names} | {"sampler": name}
    values |= SAMPLERS[name].defaults() if isinstance(name, str) and name in SAMPLERS else {}
    return [(values | settings)[name] for name in controls.names]


def api_values(**settings: Any) -> list[Any]:
    """The settings of an endpoint in their order, and the checkpoint; null where none is given."""
    return [settings.get(name) for name in (*SETTINGS, "checkpoint")]


class Served:
    """A running page.

    Attributes:
        url: where it is.
        config: what its browser side is built from.
        sessions: Gradio's own record of what it keeps for each visitor.
        resident: the checkpoint and the engine behind it.
        controls: the settings that its page offers.
        denoiser: the denoiser behind it.
    """

    denoiser: Any = None

    def __init__(self, url: str, sessions: Any, resident: Any):
        self.url = url
        self.resident = resident
        self.controls = Controls(kind_of(resident), resident.usual)
        self.sessions = sessions
        self.http = httpx.Client(base_url=url, timeout=TIMEOUT)
        self.config = self.http.get("/config").json()

    def component(self, name: str) -> int:
        """Number of the component with that elem_id."""
        return next(item["id"] for item in self.config["components"] if item["props"].get("elem_id") == name)

    def listener(self, component: str, event: str) -> int:
        """Number of the handler of a component's event."""
        target = [self.component(component), event]
        return next(item["id"] for item in self.config["dependencies"] if target in item["targets"])

    def ask(self, function: str, *arguments: Any) -> httpx.Response:
        """A server function of the canvas, called as JavaScript calls it."""
        data = arguments[0] if len(arguments) == 1 else list(arguments)
        return self.http.post(
            "/gradio_api/component_server",
            json={"data": data, "component_id": self.component("canvas"), "fn_name": function, "session_hash": "x"},
        )

    def post(self, endpoint: str, body: str | bytes) -> httpx.Response:
        """A raw body to a named endpoint; the answer holds an event id."""
        return self.http.post(
            f"/gradio_api/call/{endpoint}", content=body, headers={"content-type": "application/json"}
        )

    def call(self, endpoint: str, *data: Any) -> "Answer":
        """A named endpoint as `curl` uses it. JSON is written as ASCII, so it may hold NaN and lone surrogates."""
        posted = self.post(endpoint, json.dumps({"data": list(data)}).encode("ascii"))
        assert posted.status_code == 200, posted.text
        got = self.http.get(f"/gradio_api/call/{endpoint}/{posted.json()['event_id']}")
        assert got.status_code == 200
        return Answer([event for event in _events(got.text.splitlines()) if event[0] != "heartbeat"])


class Answer:
    """What an endpoint streamed: its records, or the sentence that it gave instead."""

    def __init__(self, events: list[tuple[str, Any]]):
        self.records = [data[0] for name, data in events if name in ("generating", "complete")]
        self.failed = events[-1][0] == "error"
        self.sentence = events[-1][1]["error"] if self.failed else None

    @property
    def last(self) -> dict:
        assert not self.failed, self.sentence
        return self.records[-1]


class Browser:
    """One page in one browser: its session and the stream of its events."""

    def __init__(self, served: Served):
        self.served = served
        self.session = secrets.token_hex(8)

    def open(self) -> None:
        """What a browser asks for when it has drawn the page."""
        for item in self.served.config["dependencies"]:
            if any(event == "load" for _, event in item["targets"]):
                asked = {"data": [None] * len(item["inputs"]), "fn_index": item["id"], "session_hash": self.session}
                assert self.served.http.post("/gradio_api/run/predict", json=asked).status_code == 200

    def press(self, component: str, event: str, data: list, sent: Any = None) -> httpx.Response:
        """Put an event in the queue."""
        return self._post("queue/join", component, event, data, sent)

    def denoise(self, text: str = "", length: int = 8, **settings: Any) -> httpx.Response:
        values = settings_values(self.served.controls, **{"steps": 8} | settings)
        return self.press(
            "denoise", "click", [self.served.resident.id, text, length, False, *values, "text", "", None]
        )

    def resume(self, sent: Any) -> httpx.Response:
        return self.press("canvas", "resume", [None], sent)

    def stop(self) -> httpx.Response:
        return self.at_once("stop", "click", [None])

    def at_once(self, component: str, event: str, data: list, sent: Any = None) -> httpx.Response:
        """An event that goes past the queue."""
        return self._post("run/predict", component, event, data, sent)

    def _post(self, route: str, component: str, event: str, data: list, sent: Any) -> httpx.Response:
        asked = {
            "data": data,
            "fn_index": self.served.listener(component, event),
            "session_hash": self.session,
            "event_data": sent,
            "trigger_id": self.served.component(component),
        }
        # Python's own JSON is ASCII, so that a lone surrogate travels as a browser sends it.
        body, kind = json.dumps(asked), {"content-type": "application/json"}
        return self.served.http.post(f"/gradio_api/{route}", content=body, headers=kind)

    @contextmanager
    def stream(self) -> Iterator[Iterator[dict]]:
        """The messages of this session as they come; leaving the block closes the connection."""
        url = f"{self.served.url}/gradio_api/queue/data"
        # A client of its own: closing a stream half way closes its connection, as a closed tab does.
        with (
            httpx.Client(timeout=TIMEOUT) as http,
            http.stream("GET", url, params={"session_hash": self.session}) as answer,
        ):
            yield (json.loads(line.removeprefix("data:")) for line in answer.iter_lines() if line.startswith("data:"))

    def wait(self) -> list[dict]:
        """All messages until nothing of this session is left in the queue."""
        with self.stream() as messages:
            return list(messages)


def _events(lines: list[str]) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            yield name, json.loads(line.removeprefix("data:"))


@contextmanager
def serve(resident) -> Iterator[Served]:
    """Launch a page over `resident` as `python app.py` does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    demo = build_demo(Shelf([resident]))
    demo.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **launch_arguments())
    try:
        yield Served(f"http://127.0.0.1:{port}", demo.app.state_holder, resident)
    finally:
        demo.close(verbose=False)
