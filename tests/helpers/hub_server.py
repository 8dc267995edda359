"""A stand-in for the Hugging Face Hub on this machine, as far as up- and downloads use it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MOST_BYTES = 64 << 20


class HubServer(ThreadingHTTPServer):
    """Repositories in memory: by `owner/name`, the contents of each file."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running_hub() -> Iterator[HubServer]:
    """Run a server until the body ends."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


def commit_of(files: dict[str, bytes]) -> str:
    """Return what stands for the commit: a digest of all contents."""
    digest = hashlib.sha1()
    for name in sorted(files):
        digest.update(name.encode() + files[name])
    return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = self._body()
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.server.repositories.setdefault(name, {})
            self._json({"url": f"{self.server.address}/{name}"})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", self.path):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            self._json({"files": modes})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
            files = self.server.repositories[found[1]]
            for entry in map(json.loads, body.splitlines()):
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    files[entry["value"]["path"]] = content
            commit = commit_of(files)
            url = f"{self.server.address}/{found[1]}/commit/{commit}"
            self._json({"success": True, "commitOid": commit, "commitUrl": url})
        else:
            self._json({"error": "not found"}, 404)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
                assert len(content) < _MOST_BYTES
            self.rfile.readline()
            return content
        return self.rfile.read(min(int(self.headers.get("Content-Length", 0)), _MOST_BYTES))

    def _get(self) -> None:
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+|/tree/[^/]+)?", path):
            self._about(found[1], found[2] or "")
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._file(found[1], found[2])
        else:
            self._json({"error": "not found"}, 404)

    def _about(self, name: str, part: str) -> None:
        files = self.server.repositories.get(name)
        if files is None:
            self._json({"error": "Repository not found"}, 404, code="RepoNotFound")
        elif part.startswith("/revision") and part.rpartition("/")[2] not in (
            "main",
            commit_of(files),
        ):
            self._json({"error": "Invalid rev id"}, 404, code="RevisionNotFound")
        elif part.startswith("/tree"):
            listed = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in files.items()
            ]
            self._json(listed)
        else:
            siblings = [{"rfilename": one} for one in files]
            about = {"id": name, "sha": commit_of(files), "siblings": siblings, "private": False}
            self._json({**about, "tags": [], "downloads": 0, "likes": 0})

    def _file(self, name: str, file: str) -> None:
        files = self.server.repositories.get(name, {})
        if file not in files:
            self._json({"error": "Entry not found"}, 404, code="EntryNotFound")
            return
        etag = hashlib.sha1(files[file]).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit_of(files)}
        self._send(files[file], "application/octet-stream", 200, headers)

    def _json(self, content: object, status: int = 200, code: str = "") -> None:
        headers = {"X-Error-Code": code} if code else {}
        self._send(json.dumps(content).encode(), "application/json", status, headers)

    def _send(self, content: bytes, kind: str, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
