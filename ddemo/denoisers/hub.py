"""Checkpoints on the Hugging Face Hub: what a download needs, fetching it into the Hub's own cache, finding it there.

The cache is the one that the whole ecosystem shares (HF_HOME), in its documented layout of blobs, refs and snapshots.
Large files are streamed here rather than by `hf_hub_download`, which starts again after a break: so that a download
goes on where it stopped, can be stopped, and is held against its checksum before it enters the cache.
"""

import errno
import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import WeakFileLock, build_hf_headers, get_session, hf_raise_for_status

from ddemo.denoisers.catalog import COMMIT, ID, catalog
from ddemo.denoisers.fit import in_bytes
from ddemo.errors import InputError

REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9_./-]{0,99}")
WEIGHTS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}\.safetensors")
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
TEXT_FILES = (  # of a checkpoint besides its weights; nothing else is ever fetched
    *("tokenizer.json", TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "chat_template.jinja", INDEX, CONFIG),
)
MOST_CONFIG = 1_000_000  # bytes
CHUNK = 1 << 20
TRIES = 5  # without a single byte, before a download is given up
PASSING = (408, 429, 500, 502, 503, 504)  # answers of a server that may do better in a moment
PAUSE = 1.0  # seconds between tries
TICK = 0.1  # seconds between reports of progress
SPARE = 200_000_000  # bytes of the disk that a download leaves free
UNFINISHED = ".ddemo.incomplete"


class DownloadStopped(InputError):
    """A download that was asked to stop; what has arrived is kept for the next time."""


@dataclass(frozen=True)
class HubId:
    """What a person names: a repository, and the revision of it that is meant.

    Attributes:
        repository: owner/name.
        revision: a commit, branch or tag; by default the catalog's, else "main".
    """

    repository: str
    revision: str

    @classmethod
    def read(cls, name: str) -> "HubId | None":
        """`owner/name` or `owner/name@revision`; None for what cannot be either."""
        repository, at, revision = name.partition("@")
        if not ID.fullmatch(repository) or ".." in repository or (at and not REVISION.fullmatch(revision)):
            return None
        known = catalog().get(repository)
        return cls(repository, revision or (known.revision if known else "main"))


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        name: its name, without a folder.
        bytes: its size.
        sha256: of its content, where the Hub states it, which it does for all large files; "" elsewhere.
        blob: its name among the blobs of the cache: the SHA-256, or Git's object id for a small file.
    """

    name: str
    bytes: int
    sha256: str
    blob: str


@dataclass(frozen=True)
class Plan:
    """What a download needs.

    Attributes:
        id: the repository and the revision that was asked for.
        commit: what that revision is now; all files are of it.
        files: config, weights and tokenizer, and nothing else.
        cached: names of the files that the cache has already.
        free: bytes that are free where the cache is.
        parameters: type -> how many numbers of it the weights are, as the Hub counts; empty where it does not.
        config: the content of config.json.
    """

    id: HubId
    commit: str
    files: tuple[RemoteFile, ...]
    cached: frozenset[str]
    free: int
    parameters: dict[str, int]
    config: dict

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes that are to be fetched."""
        return sum(file.bytes for file in self.files if file.name not in self.cached)

    @property
    def weights(self) -> int:
        """Bytes of the weights."""
        return sum(file.bytes for file in self.files if WEIGHTS.fullmatch(file.name))


def plan(name: str) -> Plan:
    """What a download of `owner/name` or `owner/name@revision` needs; the Hub is asked, a few kilobytes are read.

    Raises:
        InputError: no such repository or revision, not for this token, not reachable, or not a checkpoint whose
            weights are in safetensors files.
    """
    asked = HubId.read(name)
    if asked is None:
        raise InputError(f"{name[:200]!r} is not the id of a checkpoint on the Hub, which is owner/name.")
    try:
        info = HfApi().model_info(
            asked.repository, revision=asked.revision, files_metadata=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        )
        commit = _commit(asked, info.sha)
        config = _read_config(asked, commit)
    except InputError:
        raise
    except Exception as problem:
        raise InputError(_sentence(asked, problem)) from problem
    files = _needed(asked, [_remote(asked, sibling) for sibling in info.siblings or ()])
    cached = frozenset(file.name for file in files if _is_there(_blobs(asked) / file.blob, file.bytes))
    counted = getattr(info, "safetensors", None)
    parameters = dict(counted.parameters) if counted else {}
    return Plan(asked, commit, files, cached, disk_free(), parameters, config)


def cached(name: str) -> Path | None:
    """The directory of `owner/name[@revision]` in the cache; no network is used. None if it is not there."""
    asked = HubId.read(name)
    if asked is None:
        return None
    folder = _folder(asked)
    commit = asked.revision
    if not COMMIT.fullmatch(commit):
        ref = folder / "refs" / asked.revision
        commit = ref.read_text().strip() if ref.is_file() else ""
    directory = folder / "snapshots" / commit
    return directory if COMMIT.fullmatch(commit) and (directory / CONFIG).is_file() else None


def id_of(directory: Path) -> str:
    """What people call a checkpoint: owner/name for a directory of the Hub's cache, else the directory's own name."""
    repository = directory.parent.parent.name
    if directory.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/", 1)
    return directory.name


def commit_of(directory: Path) -> str:
    """The commit of a directory of the Hub's cache; "" for another directory."""
    return directory.name if id_of(directory) != directory.name and COMMIT.fullmatch(directory.name) else ""


def disk_free() -> int:
    """Bytes that are free where the cache is, or is to be."""
    place = Path(constants.HF_HUB_CACHE)
    return shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free


# ---------------------------------------------------------------- the download


def download(
    wanted: Plan,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """Fetch what a plan needs and the cache lacks; where it was broken off, it goes on.

    Callers that ask for the same checkpoint share one download, which ends when none of them wants it any more.

    Args:
        progress: called with the bytes that are there and all bytes, a few times a second.
        cancelled: asked as often.

    Returns:
        The directory in the cache.

    Raises:
        DownloadStopped: `cancelled` said so.
        InputError: it cannot be had; one sentence says why. Nothing half-written or damaged is in the cache.
    """
    for done in fetching(wanted):
        progress(done, wanted.bytes)
        if cancelled():
            raise DownloadStopped(stopped(wanted))
    progress(wanted.bytes, wanted.bytes)
    return _folder(wanted.id) / "snapshots" / wanted.commit


def fetching(wanted: Plan) -> Iterator[int]:
    """`download` as a generator of the bytes that are there, until all are.

    Closing it leaves the download to others who wait for it, or ends it where there are none.

    Raises:
        InputError: as `download`.
    """
    shared = _join(wanted)
    try:
        while not shared.finished.wait(TICK):
            yield shared.done
    finally:
        shared.leave()
    if shared.problem:
        raise InputError(shared.problem)


def stopped(wanted: Plan) -> str:
    """What is said of a download that somebody left."""
    return (
        f"The download of {wanted.id.repository} was stopped: what has arrived is kept, and the next one goes on "
        "from there."
    )


_LOCK = threading.Lock()
_UNDER_WAY: dict[tuple[str, str], "_Download"] = {}


def _join(wanted: Plan) -> "_Download":
    """The download of that checkpoint: the one under way, or a new one."""
    key = (wanted.id.repository, wanted.commit)
    while True:
        with _LOCK:
            running = _UNDER_WAY.get(key)
            if running is None:
                running = _UNDER_WAY[key] = _Download(wanted, key)
            if not running.stop.is_set():
                running.waiting += 1
                return running
        running.finished.wait()  # it was stopped a moment ago and is about to end


class _Stopped(Exception):
    """Nobody waits for the download any more."""


class _Download:
    """A download in a thread of its own, whoever waits for it.

    Attributes:
        done: bytes that are there.
        problem: why it failed, as a sentence; "" while all is well.
    """

    def __init__(self, wanted: Plan, key: tuple[str, str]):
        self.plan, self._key = wanted, key
        self.done, self.problem, self.waiting = 0, "", 0
        self.stop, self.finished = threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="download", daemon=True).start()

    def leave(self) -> None:
        """A caller no longer waits."""
        with _LOCK:
            self.waiting -= 1
            if not self.waiting:
                self.stop.set()

    def _run(self) -> None:
        try:
            self._fetch()
        except _Stopped:
            self.problem = f"The download of {self.plan.id.repository} was stopped."
        except InputError as problem:
            self.problem = str(problem)
        except Exception as problem:  # callers must get a sentence whatever went wrong
            self.problem = _sentence(self.plan.id, problem)
        finally:
            with _LOCK:
                _UNDER_WAY.pop(self._key, None)
                self.stop.set()
            self.finished.set()

    def _fetch(self) -> None:
        blobs = _blobs(self.plan.id)
        blobs.mkdir(parents=True, exist_ok=True)
        started = {file.name: _size(blobs / (file.blob + UNFINISHED)) for file in self.plan.files}
        needed = self.plan.missing - sum(min(started[file.name], file.bytes) for file in self.plan.files)
        if needed + SPARE > disk_free():
            raise InputError(
                f"{self.plan.id.repository} needs {in_bytes(max(0, needed))} more on the disk, of which "
                f"{in_bytes(disk_free())} is free."
            )
        for file in self.plan.files:
            self._fetch_file(file, blobs / file.blob)
        self._enter()

    def _fetch_file(self, file: RemoteFile, blob: Path) -> None:
        before = self.done
        with self._only_one(blob):
            if not _is_there(blob, file.bytes):
                unfinished = blob.with_name(blob.name + UNFINISHED)
                _Stream(self, file, unfinished, before).run()
                unfinished.replace(blob)
        self.done = before + file.bytes

    def _only_one(self, blob: Path):
        """A lock against other processes that fetch the same file."""
        locks = Path(constants.HF_HUB_CACHE) / ".locks" / _folder(self.plan.id).name
        locks.mkdir(parents=True, exist_ok=True)
        return _Patient(locks / f"{blob.name}{UNFINISHED}.lock", self.stop)

    def _enter(self) -> None:
        """Put the blobs that are there into a snapshot; config.json last, which makes it a checkpoint."""
        wanted = self.plan
        for file in sorted(wanted.files, key=lambda file: file.name == CONFIG):
            if self.stop.is_set():
                raise _Stopped
            found = Path(hf_hub_download(wanted.id.repository, file.name, revision=wanted.commit))
            if found.resolve() != (_blobs(wanted.id) / file.blob).resolve() and _digest(found, file) != file.blob:
                raise InputError(f"{file.name} of {wanted.id.repository} in the cache is not the file of the Hub.")
        if wanted.id.revision != wanted.commit:
            ref = _folder(wanted.id) / "refs" / wanted.id.revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(wanted.commit)


class _Patient:
    """A lock file that is waited for until the download is stopped."""

    def __init__(self, file: Path, stop: threading.Event):
        self._file, self._stop = file, stop

    def __enter__(self) -> None:
        while True:
            if self._stop.is_set():
                raise _Stopped
            try:
                self._lock = WeakFileLock(self._file, timeout=1.0)
                self._lock.__enter__()
                return
            except TimeoutError:
                continue

    def __exit__(self, *problem) -> None:
        self._lock.__exit__(*problem)


class _Stream:
    """One file on its way, with as many connections as that takes."""

    def __init__(self, owner: _Download, file: RemoteFile, unfinished: Path, before: int):
        self.owner, self.file, self.unfinished, self.before = owner, file, unfinished, before

    def run(self) -> None:
        """Raises _Stopped, an error of the connection or the disk, or InputError for a file of wrong content."""
        with self.unfinished.open("ab") as out:
            if out.tell() > self.file.bytes:
                out.truncate(0)
            self._until_complete(out)
        if _digest(self.unfinished, self.file) != self.file.blob:
            self.unfinished.unlink()
            raise InputError(
                f"{self.file.name} of {self.owner.plan.id.repository} arrived damaged: its checksum is not the one "
                "that the Hub states. It was thrown away; try again."
            )

    def _until_complete(self, out) -> None:
        tries = 0
        while out.seek(0, 2) < self.file.bytes:
            had = out.tell()
            try:
                self._read_on(out)
                broken = ConnectionError("the connection ended early")
            except _Stopped:
                raise
            except Exception as problem:
                if _is_final(problem):
                    raise
                broken = problem
            if out.seek(0, 2) >= self.file.bytes:
                return
            tries = 1 if out.tell() > had else tries + 1
            if tries >= TRIES:
                raise broken
            if self.owner.stop.wait(PAUSE):
                raise _Stopped

    def _read_on(self, out) -> None:
        """Append what one connection gives."""
        start = out.seek(0, 2)
        url = hf_hub_url(self.owner.plan.id.repository, self.file.name, revision=self.owner.plan.commit)
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as answer:
            hf_raise_for_status(answer)
            if start and answer.status_code != 206:  # the range was not heeded: this is the file from its beginning
                out.truncate(0)
            for chunk in answer.iter_bytes(CHUNK):
                if self.owner.stop.is_set():
                    raise _Stopped
                room = self.file.bytes - out.tell()
                out.write(chunk[:room])  # what is too much is not written; the checksum then tells
                self.owner.done = self.before + out.tell()


def _is_final(problem: Exception) -> bool:
    """Whether trying again is of no use: the Hub refuses, or the disk does. Errors of the HTTP library pass."""
    if isinstance(problem, HfHubHTTPError):
        return problem.response.status_code not in PASSING
    return isinstance(problem, OSError) and not isinstance(problem, (ConnectionError, TimeoutError))


# ---------------------------------------------------------------- what the Hub says


def _needed(asked: HubId, files: list[RemoteFile]) -> tuple[RemoteFile, ...]:
    """Config, weights and tokenizer; smallest first, so that what is wrong with them shows early."""
    there = {file.name: file for file in files}
    if CONFIG not in there:
        raise InputError(f"{asked.repository} is not a checkpoint: it has no config.json.")
    weights = [name for name in there if SHARD.fullmatch(name)] if INDEX in there else []
    if not weights:
        weights = [WHOLE] if WHOLE in there else [name for name in there if WEIGHTS.fullmatch(name)]
    if not weights:
        if any(name.endswith(PICKLES) for name in there):
            raise InputError(
                f"{asked.repository} has its weights in pickle files only, which can run code when they are read: "
                "they are not. Ask its authors for safetensors."
            )
        raise InputError(f"{asked.repository} has no weights: a .safetensors file is missing.")
    names = [*(name for name in TEXT_FILES if name in there), *weights]
    return tuple(sorted((there[name] for name in names), key=lambda file: file.bytes))


def _remote(asked: HubId, sibling) -> RemoteFile:
    sha256 = sibling.lfs.sha256 if sibling.lfs else ""
    blob = sha256 or sibling.blob_id or ""
    size = sibling.size if sibling.size is not None else -1
    file = RemoteFile(sibling.rfilename, size, sha256, blob)
    wanted = file.name in TEXT_FILES or WEIGHTS.fullmatch(file.name)
    if wanted and (size < 0 or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob)):
        raise InputError(f"The Hub does not say how large {file.name} of {asked.repository} is, or what is in it.")
    return file


def _commit(asked: HubId, sha: str | None) -> str:
    if not COMMIT.fullmatch(sha or ""):
        raise InputError(f"The Hub does not say which commit {asked.revision} of {asked.repository} is.")
    return sha


def _read_config(asked: HubId, commit: str) -> dict:
    """config.json, with the `mask_token` of tokenizer_config.json: where a network began as an autoregressive one, it
    tells before a download that the network no longer is one."""
    config = _read_table(asked, commit, CONFIG)
    if config is None:
        raise InputError(f"{asked.repository} is not a checkpoint: it has no config.json.")
    if not config:
        raise InputError(f"{asked.repository} is not a checkpoint: its config.json is unreadable.")
    told = (_read_table(asked, commit, TOKENIZER_CONFIG) or {}).get("mask_token")
    return {"mask_token": told} | config if told else config


def _read_table(asked: HubId, commit: str, name: str) -> dict | None:
    """A small JSON file of the Hub: None where there is none, empty where it is no table."""
    url = hf_hub_url(asked.repository, name, revision=commit)
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    answer = get_session().get(url, headers=build_hf_headers(), timeout=timeout, follow_redirects=True)
    if answer.status_code == 404:
        return None
    hf_raise_for_status(answer)
    try:
        table = json.loads(answer.content[:MOST_CONFIG])
    except (ValueError, RecursionError):
        table = None
    return table if isinstance(table, dict) else {}


def _sentence(asked: HubId, problem: BaseException) -> str:
    """What went wrong, for a person; messages of the libraries hold addresses and paths."""
    name = asked.repository
    if isinstance(problem, GatedRepoError):
        return f"{name} is gated: accept its terms on the Hub, and set HF_TOKEN to a token that may read it."
    if isinstance(problem, RepositoryNotFoundError):
        return f"There is no {name} on the Hub, or it is private and HF_TOKEN is not set to a token that may read it."
    if isinstance(problem, RevisionNotFoundError):
        return f"{name} has no revision {asked.revision[:100]!r} on the Hub."
    if isinstance(problem, HfHubHTTPError):
        return f"The Hub refuses {name} with status {problem.response.status_code}: try again later."
    if isinstance(problem, OfflineModeIsEnabled) or constants.is_offline_mode():
        return f"{name} is not in the cache, and HF_HUB_OFFLINE forbids asking the Hub."
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: {name} could not be fetched. What has arrived is kept, and the next one goes on."
    if isinstance(problem, PermissionError):
        return f"The Hub's cache on this machine cannot be written, so {name} could not be fetched."
    kind = type(problem).__name__
    return f"The Hub cannot be reached, or stopped answering, so {name} could not be fetched ({kind}): try again."


# ---------------------------------------------------------------- the cache


def _folder(asked: HubId) -> Path:
    return Path(constants.HF_HUB_CACHE) / f"models--{asked.repository.replace('/', '--')}"


def _blobs(asked: HubId) -> Path:
    return _folder(asked) / "blobs"


def _is_there(blob: Path, size: int) -> bool:
    return blob.is_file() and blob.stat().st_size == size


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _digest(file: Path, remote: RemoteFile) -> str:
    """The checksum that the Hub states for it: SHA-256, or Git's object id (SHA-1 over a header and the content)."""
    digest = hashlib.sha256() if remote.sha256 else hashlib.sha1(b"blob %d\0" % file.stat().st_size)
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
