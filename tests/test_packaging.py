"""What a fresh machine gets: requirements, constraints, README and the steps of the Dockerfile."""

import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import venv
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from itertools import chain
from pathlib import Path, PurePosixPath

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ddemo.sampling import SamplerConfig
from tests.app_process import ROOT, clean_environment, free_port, serving
from tests.browser.conftest import find_chromium, skip_or_fail

PYTHONS = ("3.11", "3.12", "3.13")
LEFT_TO_TORCH = ("nvidia-", "cuda-", "triton", "setuptools")  # of its build for the machine at hand
README = (ROOT / "README.md").read_text(encoding="utf-8")


def lines_of(name: str) -> list[str]:
    lines = (line.split(" #")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def requirements(name: str) -> list[Requirement]:
    """Those of a file and of the files that it includes."""
    found = []
    for line in lines_of(name):
        if line.startswith("-r "):
            found += requirements(line.removeprefix("-r ").strip())
        else:
            found.append(Requirement(line))
    return found


def pins() -> dict[str, str]:
    """Canonical name -> version, from constraints.txt."""
    named = (Requirement(line) for line in lines_of("constraints.txt"))
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in named}


# Requirements and constraints


def test_constraints_are_exact_and_name_no_place():
    lines = lines_of("constraints.txt")
    assert len(lines) > 50
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==\d[\w.]*", line)]
    assert not wrong  # no local versions, addresses, markers or ranges
    assert not [name for name in pins() if name.startswith(LEFT_TO_TORCH)]
    assert pins()["torch"] == "2.13.0"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-train.txt", "requirements-dev.txt"])
def test_ranges_admit_what_is_pinned(name):
    for requirement in requirements(name):
        pinned = pins().get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement.name} of {name} is not in constraints.txt"
        assert requirement.specifier.contains(pinned), f"{requirement} does not admit {pinned}"
        assert not requirement.url and not any(part.operator == "==" for part in requirement.specifier)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_constraints_cover_all_that_gets_installed(name):
    """Walks from the requirements through what the installed packages say they need."""
    waiting = [canonicalize_name(requirement.name) for requirement in requirements(name)]
    seen = set()
    while waiting:
        package = waiting.pop()
        if package in seen or package.startswith(LEFT_TO_TORCH):
            continue
        seen.add(package)
        try:
            needs = distribution(package).requires or []
        except PackageNotFoundError:
            continue  # for another platform; were it needed here, imports would fail
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(need.name))
    assert len(seen) > 40
    assert seen - set(pins()) <= {"audioop-lts"}  # of Python 3.13 only


@pytest.mark.parametrize(
    "name, folders",
    [
        ("requirements.txt", ["app.py", "ddemo"]),
        ("requirements-train.txt", ["ddemo/training"]),
        ("requirements-dev.txt", ["tests"]),
    ],
)
def test_every_import_is_asked_for(name, folders):
    """What the code imports is named in the file itself: nothing is there by another package's grace alone."""
    asked = {canonicalize_name(requirement.name) for requirement in requirements(name)}
    asked.add("gradio-client")  # a part of Gradio, of the version that goes with it
    distributions = packages_distributions()
    checked = 0
    for file in chain.from_iterable([ROOT / f] if f.endswith(".py") else (ROOT / f).rglob("*.py") for f in folders):
        if name == "requirements.txt" and "training" in file.relative_to(ROOT).parts:
            continue
        for module in imported(file):
            owners = {canonicalize_name(owner) for owner in distributions.get(module, [module])}
            assert owners & asked, f"{file.relative_to(ROOT)} imports {module}, which {name} does not ask for"
            checked += 1
    assert checked > 3


def imported(file: Path) -> set[str]:
    """Names of the outside packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"ddemo", "tests"}


# README


def test_front_matter_is_what_a_space_reads():
    settings = yaml.safe_load(README.split("---\n")[1])
    assert settings["sdk"] == "gradio"
    assert settings["sdk_version"] == pins()["gradio"]
    assert settings["python_version"] in PYTHONS
    assert (ROOT / settings["app_file"]).is_file()
    assert {"title", "emoji", "colorFrom", "colorTo", "pinned"} <= set(settings)


def test_settings_of_the_readme_are_those_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", README, re.MULTILINE)
    told = dict(rows)
    defaults = {name: str(value) for name, value in SamplerConfig().as_dict().items() if name != "candidates"}
    assert told == defaults | {"length": "48"}


def test_commands_of_the_readme_mean_something():
    from ddemo.__main__ import _parser
    from ddemo.training.__main__ import parser as training
    from ddemo.training.config import PROCESSES

    commands = re.findall(r"^python -m (ddemo(?:\.training)?) (.+)$", README, re.MULTILINE)
    assert {shlex.split(rest)[0] for module, rest in commands if module == "ddemo"} == {
        "generate", "infill", "chat", "compare", "ladder", "samplers", "eval", "prose", "infilling", "repair",
        "bench", "examples", "fetch", "models",
    }  # fmt: skip
    assert [module for module, _ in commands].count("ddemo.training") == len(PROCESSES)
    for module, rest in commands:
        (training() if module.endswith("training") else _parser()).parse_args(shlex.split(rest))


def test_newcomers_commands_are_in_the_readme_and_carried_out_by_ci():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in (
        "pip install -r requirements.txt -c constraints.txt",
        "python app.py",
        "pip install -r requirements-dev.txt -c constraints.txt",
        "python -m pytest",
    ):
        assert f"\n{command}\n" in README
        carried_out = command.replace("pip install", "pip install -q")
        assert re.search(rf"^ *{re.escape(carried_out)}", script, re.MULTILINE), command
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_tree_and_links_of_the_readme_exist():
    (tree,) = re.findall(r"## The tree\n+```\n(.*?)```", README, re.DOTALL)
    folder = ""
    for line in tree.splitlines():
        name = line.split()[0]
        folder = "" if not line.startswith("  ") else folder
        assert (ROOT / folder / name).exists(), line
        folder = name if name.endswith("/") and not line.startswith("  ") else folder
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).is_file()]


# The browser tests' ground


def test_chromium_is_found_where_it_is(tmp_path, monkeypatch):
    browser = tmp_path / "chromium-browser"
    browser.write_text("#!/bin/sh\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert find_chromium() == str(browser)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert find_chromium() is None
    monkeypatch.setenv("CHROMIUM", str(browser))
    assert find_chromium() == str(browser)
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "gone"))
    assert find_chromium() is None


@pytest.mark.parametrize("ci, outcome", [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_skip_is_a_failure_where_ci_is_true(ci, outcome, monkeypatch):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no browser"):
        skip_or_fail("no browser")


# The Dockerfile


def instructions() -> list[tuple[str, str]]:
    """(keyword, the rest) of each instruction of the Dockerfile; continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def the(keyword: str) -> str:
    (found,) = [rest for word, rest in instructions() if word == keyword]
    return found


def command_of(rest: str) -> list[str]:
    """The exec form of a CMD, also of one within a HEALTHCHECK."""
    return json.loads(rest[rest.index("[") :])


def left_out(path: str) -> bool:
    """Whether .dockerignore keeps a file from the build; the last pattern that matches it or a folder decides."""
    file = PurePosixPath(path)
    places = [str(place) for place in (file, *file.parents) if place.name]
    ignored = False
    for line in lines_of(".dockerignore"):
        pattern = line.removeprefix("!")
        if pattern.startswith("**/"):
            matches = any(fnmatchcase(name, pattern.removeprefix("**/")) for name in file.parts)
        else:
            assert "/" not in pattern, f"{line}: this test knows names at the root and **/name only"
            matches = any(fnmatchcase(place, pattern) for place in places if "/" not in place)
        if matches:
            ignored = not line.startswith("!")
    return ignored


def build_context() -> list[str]:
    """The files that a build may copy, as paths from the root."""
    kept = [entry for entry in ROOT.iterdir() if not left_out(entry.name)]
    files = chain.from_iterable([entry] if entry.is_file() else entry.rglob("*") for entry in kept)
    paths = (file.relative_to(ROOT).as_posix() for file in files if file.is_file())
    return [path for path in paths if not left_out(path)]


def copy_steps(target: Path) -> None:
    """Carry out the COPY steps of the Dockerfile, `target` standing for its WORKDIR."""
    context = build_context()
    for rest in (rest for word, rest in instructions() if word == "COPY"):
        *sources, destination = [part for part in rest.split() if not part.startswith("--")]
        assert destination.startswith("./"), f"COPY {rest}: this test knows destinations within WORKDIR only"
        for source in sources:
            files = [path for path in context if path == source or path.startswith(source.rstrip("/") + "/")]
            assert files, f"COPY {rest}: the build has no {source}"
            for path in files:
                within = PurePosixPath(path).relative_to(source) if path != source else None
                place = target / destination / (within or (Path(path).name if destination.endswith("/") else ""))
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, place)


def run_as_the_image(directory: Path, python: Path, scratch: Path) -> None:
    """Start CMD from `directory` on a free port, ask HEALTHCHECK before and after, and stop it as Docker does."""
    port = str(free_port())
    command = [part.replace("7860", port) for part in command_of(the("CMD"))]
    check = [part.replace("7860", port) for part in command_of(the("HEALTHCHECK"))]
    assert command[0] == check[0] == "python" and port in command and port in check[-1]
    command[0] = check[0] = str(python)
    environment = clean_environment(**dict(pair.split("=") for pair in the("ENV").split()))

    def healthy() -> bool:
        asked = subprocess.run(check, cwd=directory, env=environment, capture_output=True, timeout=60, check=False)
        return asked.returncode == 0

    assert not healthy()
    with serving(command, int(port), scratch, directory, environment) as app:
        assert healthy()
        assert app.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert not healthy()


def test_dockerfile_says_where_and_as_whom():
    assert re.fullmatch(r"python:3\.1[123]-slim", the("FROM"))
    assert the("USER") == "1000" and "--uid 1000" in the_run_with("useradd")
    assert the("EXPOSE") == "7860"
    assert command_of(the("CMD")) == ["python", "app.py", "--host", "0.0.0.0", "--port", "7860"]
    assert the("ARG") == 'TORCH_INDEX=""' and "$TORCH_INDEX" in the_run_with("pip install")
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"https?://[\w.-]+", text) == ["http://127.0.0.1"]
    words = [word for word, _ in instructions()]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in ("RUN", "COPY"))


def the_run_with(text: str) -> str:
    (found,) = [rest for word, rest in instructions() if word == "RUN" and text in rest]
    return found


def test_image_holds_no_more_than_it_needs():
    context = build_context()
    assert {path.split("/")[0] for path in context} == {
        "requirements.txt", "constraints.txt", "app.py", "ddemo", "checkpoints",
    }  # fmt: skip
    assert left_out("ddemo/ui/__pycache__/page.pyc") and left_out("tests/conftest.py")
    assert not left_out("ddemo/runs.py")


def test_torch_index_reaches_pip(tmp_path):
    """The RUN step as a shell sees it, with and without the build argument; a stand-in for pip notes its words."""
    noted = tmp_path / "pip"
    noted.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    noted.chmod(0o755)

    def words(**arguments: str) -> list[str]:
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | arguments
        done = subprocess.run(
            ["sh", "-c", the_run_with("pip install")], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split("\n")[:-1]

    plain = ["install", "--no-cache-dir", "-r", "requirements.txt", "-c", "constraints.txt"]
    assert words() == words(TORCH_INDEX="") == plain
    assert words(TORCH_INDEX="file:///a place") == [*plain, "--extra-index-url", "file:///a place"]


def test_copied_files_are_enough_to_start_the_page(tmp_path):
    """The COPY steps into an empty directory, then CMD there, in the environment that runs the tests."""
    home = tmp_path / "image"
    home.mkdir()
    copy_steps(home)
    run_as_the_image(home, Path(sys.executable), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("CI") != "true", reason="installs everything anew; set CI=true to run it")
def test_the_image_s_steps_make_a_page_from_nothing(tmp_path):
    """All steps in an empty directory: COPY, RUN in a new virtual environment, CMD."""
    home, environment = tmp_path / "image", tmp_path / "venv"
    home.mkdir()
    copy_steps(home)
    venv.create(environment, with_pip=True)
    variables = clean_environment(PATH=f"{environment / 'bin'}:{os.environ['PATH']}", TORCH_INDEX="")
    step = the_run_with("pip install").replace("--no-cache-dir", "-q")  # what the first install fetched serves again
    subprocess.run(["sh", "-c", step], cwd=home, env=variables, timeout=1200, check=True)
    run_as_the_image(home, environment / "bin" / "python", tmp_path)
