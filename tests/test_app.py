"""`python app.py`: its arguments, what it says when it cannot start, the page it serves, and how it ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from ddemo.serve import main, parser
from tests.app_process import ROOT, Outside, clean_environment, free_port, serving

OPTIONS = ("--host", "--port", "--checkpoint", "--device", "--dtype", "--public", "--force", "--judge", "--share")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Nothing of the machine's own settings in here; what app.py sets for itself is taken back at the end."""
    for name in ("SPACE_ID", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "1" if name.startswith("HF") else "False")


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in OPTIONS)


def test_without_arguments_the_page_is_for_this_machine_only():
    chosen = vars(parser().parse_args([]))
    assert chosen == {
        "host": "127.0.0.1",
        "port": 7860,
        "checkpoint": None,
        "device": "auto",
        "dtype": "auto",
        "public": False,
        "force": False,
        "judge": None,
        "share": False,
    }


def test_arguments_are_taken():
    text = "--host 0.0.0.0 --port 7900 --checkpoint somewhere --checkpoint a/b --device cpu --dtype bfloat16 --public"
    chosen = vars(parser().parse_args(f"{text} --force --judge none --share".split()))
    places = ["somewhere", "a/b"]
    assert list(chosen.values()) == ["0.0.0.0", 7900, places, "cpu", "bfloat16", True, True, "none", True]


def test_on_a_space_it_listens_to_everyone(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/ddemo")
    assert parser().parse_args([]).host == "0.0.0.0" and parser().parse_args([]).public


@pytest.mark.parametrize("wrong", ["--device tpu", "--dtype int4", "--port eighty", "--colour red"])
def test_arguments_that_mean_nothing_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(wrong.split())
    assert ended.value.code == 2
    assert wrong.split()[0] in capsys.readouterr().err


def test_unknown_checkpoint_is_one_sentence_and_exit_code_1():
    command = [sys.executable, "app.py", "--checkpoint", "no-such-model", "--port", str(free_port())]
    ended = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1 and ended.stderr.startswith("app.py: There is no checkpoint 'no-such-model'")
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "files, sentence",
    [
        ({}, "its config.json is missing"),
        ({"config.json": '{"architectures": ["LlamaForCausalLM"]}'}, "is not a masked language model"),
        ({"config.json": '{"architectures": ["BertForMaskedLM"]}'}, "has no weights"),
        ({"config.json": '{"architectures": ["BertForMaskedLM"]}', "model.safetensors": "half"}, "half-written"),
    ],
)
def test_a_directory_that_is_no_checkpoint_is_one_sentence(files, sentence, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["--checkpoint", str(tmp_path)])
    said = ended.value.code
    assert said.startswith("app.py: ") and sentence in said and "\n" not in said
    assert str(tmp_path.parent) not in said


def test_a_port_that_is_taken_is_one_sentence(tiny_directory):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "app.py", "--port", str(port), "--checkpoint", str(tiny_directory)]
        ended = subprocess.run(
            [*command, "--judge", "none"],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 1
    assert f"app.py: 127.0.0.1:{port} cannot be listened on" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_page_is_launched_where_it_was_asked_to(tiny_directory, monkeypatch):
    launched = []
    monkeypatch.setattr(gr.Blocks, "launch", lambda demo, **how: launched.append(how))
    where = "--host 127.0.0.2 --port 7999 --share"
    main([*where.split(), "--judge", "none", "--device", "cpu", "--checkpoint", str(tiny_directory)])
    (how,) = launched
    assert (how["server_name"], how["server_port"], how["share"]) == ("127.0.0.2", 7999, True)


@pytest.fixture(scope="module")
def outside():
    with Outside() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def app(outside, tiny_directory, tmp_path_factory):
    """The real app on the tiny checkpoint, every way out of the machine leading to `outside`."""
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--checkpoint", str(tiny_directory)]
    environment = clean_environment(**outside.environment())
    with serving(command, port, tmp_path_factory.mktemp("app"), environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def client(app):
    return Client(app.url, verbose=False)


def addresses(text: str) -> set[str]:
    return set(re.findall(r"(?:https?:)?//[\w-]+(?:\.[\w-]+)+[^\s\"'<>\\)]*", text))


def test_page_is_ours_and_points_nowhere_outside(app):
    config = json.loads(app.get("/config"))
    assert config["title"] == "ddemo" and "mountTokenCanvas" in json.dumps(config["components"])
    template = Path(gr.__file__).parent / "templates" / "frontend" / "index.html"
    of_gradio = addresses(template.read_text(encoding="utf-8"))  # its share pictures and links: nothing loads them
    namespaces = ("http://www.w3.org/",)
    papers = ("https://arxiv.org/abs/",)  # links for a reader to follow: nothing loads them
    for path in ("/", "/config", "/theme.css"):
        found = addresses(app.get(path)) - of_gradio
        assert not [url for url in found if not url.startswith((app.url, *namespaces, *papers))], path


def test_api_has_its_endpoints_and_streams(app, client):
    described = client.view_api(return_format="dict")
    assert set(described["named_endpoints"]) == {"/generate", "/infill", "/chat"}
    assert not described["unnamed_endpoints"]
    steps = list(client.submit("The old sailor", length=12, steps=4, seed=5, api_name="/generate"))
    assert [step["masks"] for step in steps] == [9, 6, 3, 0, 0]
    assert [step["done"] for step in steps] == [False] * 4 + [True]
    assert steps[-1]["seed"] == 5 and steps[-1]["text"].startswith("The old sailor")


def test_bad_input_through_the_api_is_one_sentence_and_the_server_goes_on(app, client):
    with pytest.raises(AppError, match=r"^There is nothing to fill"):
        client.predict("no mask at all", api_name="/infill")
    assert client.predict("The [MASK:2] sea", steps=2, api_name="/infill")["done"]
    assert "Traceback" not in app.output


def test_readme_example_of_the_api_runs(app, capsys):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?gradio_client.*?)```", readme, re.DOTALL)
    assert "http://127.0.0.1:7860" in example
    exec(compile(example.replace("http://127.0.0.1:7860", app.url), "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_server_asks_nothing_of_the_outside(app, outside):
    app.get("/")
    assert outside.asked == []
    leaving = "import httpx; httpx.get('https://outside.invalid', timeout=5)"
    subprocess.run(
        [sys.executable, "-c", leaving],
        env=clean_environment(**outside.environment()),
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert outside.asked and "outside.invalid" in outside.asked[0]  # whoever had left would have been seen
    outside.asked.clear()


def test_sigterm_ends_it(app):
    assert app.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    with pytest.raises(OSError):
        app.get("/")
    assert "Traceback" not in app.output


def test_interrupt_ends_it(tiny_directory, tmp_path):
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--checkpoint", str(tiny_directory)]
    with serving(command, port, tmp_path) as running:
        time.sleep(1)  # it is ready a moment before it settles down to wait
        assert running.end(signal.SIGINT) == 0
        assert "Traceback" not in running.output


def test_interrupt_ends_it_while_a_thread_is_inside_torch(tmp_path):
    """Python's own winding up lets such a thread abort the process, most of the time."""
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--checkpoint", "classics-mdm", "--judge", "none"]
    with serving(command, port, tmp_path) as running:
        client = Client(running.url, verbose=False)
        runs = [client.submit("The king [MASK:200] daughter.", steps=200, api_name="/infill") for _ in range(3)]
        while not all(run.outputs() for run in runs):
            time.sleep(0.05)
        assert running.end(signal.SIGINT) == 0
        assert "Traceback" not in running.output and "terminate" not in running.output
