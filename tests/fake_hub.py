"""A model hub on localhost that speaks what huggingface_hub asks of one, and misbehaves on demand."""

import hashlib
import json
import socket
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote, urlsplit

REPOSITORY = "owner/model"
LARGE = (".safetensors", ".pt")  # what is in LFS


def commit_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


def etag_of(name: str, content: bytes) -> str:
    """As on the hub: sha256 for what is in LFS (the weights here), git's hash for the rest."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Quiet(ThreadingHTTPServer):
    """A client that went away is no news."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class FakeHub:
    """``with FakeHub(files) as hub``: serves ``files`` as ``owner/model``; set the attributes to make it misbehave."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.commits = {commit_of(files): files}
        self.main = commit_of(files)
        self.others: dict[str, dict[str, dict[str, bytes]]] = {}  # further repositories: commit -> files
        self.gated: set[str] = set()  # repositories that are not for everybody
        self.accepted = False  # whether the terms of those were accepted by whom the token is of
        self.token: str | None = None  # the only one that is known; None: any is
        self.status: dict[str, tuple[int, str]] = {}  # "revision", "tree", "resolve" -> status, X-Error-Code
        self.message = ""  # X-Error-Message of those
        self.answers: dict[str, bytes] = {}  # the same keys -> a body instead of the JSON
        self.cut_after: int | None = None  # bytes of a weights file, then the connection is closed, every time
        self.cut_once = False  # the first time only
        self.dies_after: int | None = None  # the same, and nobody listens from then on
        self.hangs: set[str] = set()  # the same keys
        self.hangs_at = ""  # the file whose body never comes
        self.damage = False  # weights with one byte changed
        self.announced: int | None = None  # size said of every weights file
        self.short = False  # an answer whose Content-Length is smaller than the size announced
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()  # bytes by file name
        self.tokens: set[str | None] = set()
        self.connections: set[socket.socket] = set()
        self.released = threading.Event()
        self.server = Quiet(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "FakeHub":
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody listens any more, then what is open is closed."""
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def add(self, repository: str, files: dict[str, bytes], commit: str) -> None:
        """Another repository, which is at ``commit``."""
        self.others[repository] = {commit: files}

    def push(self, files: dict[str, bytes]) -> str:
        """A new commit on main."""
        self.main = commit_of(files)
        self.commits[self.main] = files
        return self.main


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            hub.connections.add(self.connection)

        def finish(self) -> None:
            hub.connections.discard(self.connection)
            with suppress(OSError):
                super().finish()

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if not self.known():
                self.answer(b"{}", 401, {"X-Error-Message": "Invalid credentials in Authorization header"})
                return
            if parts[:2] == ["api", "whoami-v2"]:
                self.answer(b'{"name": "somebody"}')
                return
            if parts[-1] == "auth-check":
                self.check("/".join(parts[2:4]))
                return
            if len(parts) < (6 if parts[0] == "api" else 4):
                self.refuse(404, "")  # what huggingface_hub asks for itself
                return
            if parts[:2] == ["api", "models"]:
                repository, kind, revision, name = "/".join(parts[2:4]), parts[4], parts[5], ""
            else:
                repository, kind, revision = "/".join(parts[:2]), parts[2], parts[3]
                name = "/".join(parts[4:])
            hub.requests[kind if kind != "resolve" else f"{self.command} {name}"] += 1
            others = hub.others.get(repository)
            commits = hub.commits if others is None else others
            commit = revision if revision != "main" else hub.main if others is None else next(iter(others))
            if kind in hub.hangs:
                hub.released.wait()
                self.close_connection = True
            elif kind in hub.status:
                self.refuse(*hub.status[kind])
            elif repository != REPOSITORY and others is None:
                self.refuse(404, "RepoNotFound")
            elif kind == "resolve" and not self.allowed(repository):
                self.refuse(*self.gate())
            elif commit not in commits:
                self.refuse(404, "RevisionNotFound")
            elif kind in hub.answers:
                self.answer(hub.answers[kind])
            elif kind in ("revision", "tree"):
                files, gated = commits[commit], repository in hub.gated
                told = listing(files) if kind == "tree" else description(repository, commit, files, gated)
                self.answer(json.dumps(told).encode())
            elif name not in commits[commit]:
                self.refuse(404, "EntryNotFound")
            else:
                self.file(commit, name, commits[commit][name])

        def known(self) -> bool:
            given = self.headers.get("Authorization")
            return None in (hub.token, given) or given == f"Bearer {hub.token}"

        def allowed(self, repository: str) -> bool:
            return repository not in hub.gated or (hub.accepted and "Authorization" in self.headers)

        def gate(self) -> tuple[int, str]:
            return 403 if "Authorization" in self.headers else 401, "GatedRepo"

        def check(self, repository: str) -> None:
            hub.requests["auth-check"] += 1
            if "auth-check" in hub.hangs:
                hub.released.wait()
                self.close_connection = True
            elif "auth-check" in hub.status:
                self.refuse(*hub.status["auth-check"])
            elif self.allowed(repository):
                self.answer(b"{}")
            else:
                self.refuse(*self.gate())

        def refuse(self, status: int, code: str) -> None:
            headers = {"X-Error-Code": code, "X-Error-Message": hub.message}
            self.answer(b"{}", status, {key: value for key, value in headers.items() if value})

        def answer(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def file(self, commit: str, name: str, content: bytes) -> None:
            weights = name.endswith(LARGE)
            headers = {"ETag": f'"{etag_of(name, content)}"', "X-Repo-Commit": commit}
            if weights:
                headers["X-Linked-Etag"] = headers["ETag"]
                headers["X-Linked-Size"] = str(hub.announced or len(content))
            if weights and hub.damage:
                content = bytes([content[0] ^ 1]) + content[1:]
            if weights and hub.short:
                content = content[:-1]
            first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            self.send_response(206 if first else 200)
            if first:
                headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            body = content[first:]
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            limit = hub.dies_after if hub.dies_after is not None else hub.cut_after
            if name == hub.hangs_at:
                hub.released.wait()
                body, self.close_connection = b"", True
            if weights and limit is not None and limit < len(body):
                body = body[:limit]
                self.close_connection = True
                if hub.cut_once:
                    hub.cut_after = None
            hub.sent[name] += len(body)
            self.wfile.write(body)
            self.wfile.flush()
            if self.close_connection and hub.dies_after is not None:
                hub.stop()

    def size(name: str, content: bytes) -> int:
        return hub.announced or len(content) if name.endswith(LARGE) else len(content)

    def large(name: str, content: bytes, key: str) -> dict[str, object]:
        if not name.endswith(LARGE):
            return {}
        return {"lfs": {key: etag_of(name, content), "size": size(name, content), "pointerSize": 134}}

    def description(repository: str, commit: str, files: dict[str, bytes], gated: bool) -> dict[str, object]:
        siblings = [
            {"rfilename": n, "size": size(n, c), "blobId": oid(n, c), **large(n, c, "sha256")} for n, c in files.items()
        ]
        facts = {"gated": "auto" if gated else False, "cardData": {"license": "apache-2.0"}}
        return {"id": repository, "sha": commit, "siblings": siblings, "tags": [], "private": False, **facts}

    def listing(files: dict[str, bytes]) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": n, "size": size(n, c), "oid": oid(n, c), **large(n, c, "oid")}
            for n, c in files.items()
        ]

    def oid(name: str, content: bytes) -> str:
        return "0" * 40 if name.endswith(LARGE) else etag_of(name, content)

    return Handler
