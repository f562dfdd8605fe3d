"""A stand-in for the Hub: as much of its protocol as `huggingface_hub` speaks, and ways to fail."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LARGE = (".safetensors", ".bin", ".model")  # stored as LFS files, whose SHA-256 the Hub states


@dataclass
class Repository:
    """A repository, and how it behaves.

    Attributes:
        files: name -> content.
        gated: answers 401 to whoever has no token.
        lie: name -> content that is served in place of the one that the checksum is of.
        cut: name -> numbers of bytes after which the next connections break.
        stalled: names that are never sent beyond their first bytes.
        gate: while it is not set, no content is sent.
        token: what opens a gated repository.
    """

    files: dict[str, bytes]
    gated: bool = False
    lie: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    stalled: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    token: str = "hf_secret"

    def __post_init__(self):
        self.gate.set()

    @property
    def commit(self) -> str:
        """Follows the content, as on the Hub."""
        digest = hashlib.sha1()
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()

    def blob(self, name: str) -> str:
        content = self.files[name]
        if name.endswith(LARGE):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @classmethod
    def of(cls, directory: Path) -> "Repository":
        return cls({file.name: file.read_bytes() for file in sorted(directory.iterdir()) if file.is_file()})


@dataclass
class StandIn:
    """The server's address, what it holds, and what it was asked for.

    Attributes:
        asked: method, path and Range of each request.
        tokens: path -> the Authorization headers that came with it.
    """

    url: str
    repositories: dict[str, Repository]
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: dict[str, set[str]] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def sent(self, name: str) -> list[str]:
        """The Range of each request for a file's content, "" for all of it."""
        place = "/cdn/" if name.endswith(LARGE) else "/resolve/"
        requests = [(path, span) for method, path, span in self.asked if method == "GET" and place in path]
        return [span for path, span in requests if path.endswith(f"/{name}")]


@contextmanager
def stand_in(repositories: dict[str, Repository]) -> Iterator[StandIn]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub = StandIn(f"http://127.0.0.1:{server.server_port}", repositories)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.hub.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server.hub
        path = self.path.partition("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range", "")))
        hub.tokens.setdefault(path, set()).add(self.headers.get("Authorization", ""))
        if stored := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            return self._file(hub.repositories[stored[1]], stored[2])
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = api or file
        repository = hub.repositories.get(found[1]) if found else None
        if repository is None:
            return self._refuse(401, "RepoNotFound", "Repository not found")
        if repository.gated and self.headers.get("Authorization") != f"Bearer {repository.token}":
            return self._refuse(401, "GatedRepo", "Access to this model is restricted")
        if found[2] not in (None, "main", repository.commit):
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        if api:
            return self._info(found[1], repository)
        if file[3].endswith(LARGE) and file[3] in repository.files:
            return self._redirect(found[1], repository, file[3])
        return self._file(repository, file[3])

    def _info(self, name: str, repository: Repository) -> None:
        siblings = []
        for file, content in repository.files.items():
            told = {"rfilename": file, "size": len(content), "blobId": repository.blob(file)}
            if file.endswith(LARGE):
                told["blobId"] = "0" * 40
                told["lfs"] = {"sha256": repository.blob(file), "size": len(content), "pointerSize": 134}
            siblings.append(told)
        told = {"_id": "1", "id": name, "modelId": name, "sha": repository.commit, "siblings": siblings}
        told |= {"private": False, "downloads": 0, "likes": 0, "tags": []}
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _redirect(self, name: str, repository: Repository, file: str) -> None:
        """Large files come from a store under another name, as on the Hub."""
        blob, size = repository.blob(file), len(repository.files[file])
        store = self.server.hub.url.replace("127.0.0.1", "localhost")
        told = {"X-Repo-Commit": repository.commit, "X-Linked-Etag": f'"{blob}"', "X-Linked-Size": str(size)}
        self._send(302, b"", {**told, "Location": f"{store}/cdn/{name}/{file}"})

    def _file(self, repository: Repository, name: str) -> None:
        if name not in repository.files:
            return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repository.commit})
        content = repository.lie.get(name, repository.files[name])
        told = {"X-Repo-Commit": repository.commit, "ETag": f'"{repository.blob(name)}"', "Accept-Ranges": "bytes"}
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1]) if "Range" in self.headers else 0
        if start:
            told["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET":
            repository.gate.wait(30)
        cuts = repository.cut.get(name)
        most = cuts.pop(0) if cuts and self.command == "GET" else None
        if name in repository.stalled and self.command == "GET":
            most = 100
        self._send(206 if start else 200, content[start:], told, most)
        if most is not None and name in repository.stalled:
            self.server.hub.over.wait(30)

    def _refuse(self, status: int, code: str, message: str, told: dict | None = None) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": message, **(told or {})})

    def _send(self, status: int, body: bytes, told: dict[str, str], most: int | None = None) -> None:
        """An answer; only its first `most` bytes, after which the connection breaks."""
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:most])
            self.wfile.flush()
        if most is not None:
            self.close_connection = True
