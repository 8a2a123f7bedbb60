"""A model hub on loopback: the part of the protocol that ``huggingface_hub`` downloads with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@dataclass
class Hub:
    """What a server holds, and what it was asked for.

    ``files``     repository -> file -> content; the same at each revision of :data:`COMMITS`.
    ``gated``     repositories that answer that terms must be accepted.
    ``requests``  method and path of every request.
    """

    files: Mapping[str, Mapping[str, bytes]]
    gated: frozenset[str] = frozenset()
    requests: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def downloads(self) -> list[str]:
        """Files whose content was asked for."""
        return [
            r.rpartition("/")[2] for r in self.requests if r.startswith("GET") and "/resolve/" in r
        ]


@contextmanager
def serving(
    files: Mapping[str, Mapping[str, bytes]], gated: frozenset[str] = frozenset()
) -> Iterator[Hub]:
    """A hub on a free port of loopback for as long as the context lasts."""
    hub = Hub(files, gated)

    class Handler(_Handler):
        held = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    held: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""

    def _answer(self) -> None:
        path = unquote(self.path.partition("?")[0])
        self.held.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        owner, name, *rest = parts[2:] if is_api else parts
        repository = f"{owner}/{name}"
        if repository in self.held.gated:
            return self._refuse(403, "GatedRepo")
        if repository not in self.held.files:
            return self._refuse(401, "RepoNotFound")
        revision = rest[1] if len(rest) > 1 else "main"
        commit = revision if revision in COMMITS.values() else COMMITS.get(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        files = self.held.files[repository]
        if is_api:
            siblings = [{"rfilename": file} for file in files]
            return self._send(json.dumps({"id": repository, "sha": commit, "siblings": siblings}))
        content = files.get("/".join(rest[2:]))
        if content is None:
            return self._refuse(404, "EntryNotFound")
        return self._send(content, commit)

    def _send(self, content: bytes | str, commit: str | None = None) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if commit is None:
            self.send_header("Content-Type", "application/json")
        else:
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
