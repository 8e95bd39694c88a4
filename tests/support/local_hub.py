"""A small server on this machine that speaks the hub's HTTP, as far as edits are pushed and pulled through it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_good"

Files = dict[str, bytes]


@dataclass
class LocalHub:
    """What the server has.

    Attributes:
        address: where it listens, for HF_ENDPOINT.
        commits: from repository to its commits, newest last; each an id and all files.
        branches: from (repository, branch) to the commit's id.
        gated: repositories that nobody may read.
        private: repositories that TOKEN alone may read.
        cut: how many of the next file bodies end in the middle.
        asked: method and path of every request.
    """

    address: str = ""
    commits: dict[str, list[tuple[str, Files]]] = field(default_factory=dict)
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    cut: int = 0
    asked: list[str] = field(default_factory=list)

    def commit(self, repository: str, files: Files, branch: str = "main") -> str:
        """Add ``files`` to a branch, which is created if need be; the commit's id."""
        former = self.files(repository, branch) or {}
        content = {**former, **files}
        made = hashlib.sha1(repr((repository, branch, sorted(content.items()))).encode()).hexdigest()
        self.commits.setdefault(repository, []).append((made, content))
        self.branches[repository, branch] = made
        return made

    def files(self, repository: str, revision: str) -> Files | None:
        """The files at a branch or commit."""
        wanted = self.branches.get((repository, revision), revision)
        return next((files for made, files in self.commits.get(repository, []) if made == wanted), None)


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        pass

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            cut = self.hub.cut > 0 and "ETag" in headers
            self.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                self.hub.cut -= 1
                self.close_connection = True

    def say(self, document: object) -> None:
        self.answer(200, json.dumps(document).encode(), Content_Type="application/json")

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=message)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def trusted(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repository, rest = "/".join(parts[2:4]), parts[4:]
            kind, revision = (rest[0], "/".join(rest[1:])) if rest else ("revision", "main")
        else:
            repository, kind, revision = "/".join(parts[:2]), "file", parts[3] if len(parts) > 4 else ""
        if repository not in self.hub.commits or (repository in self.hub.private and not self.trusted()):
            return self.refuse(401 if not self.trusted() else 404, "RepoNotFound", "Repository not found")
        if repository in self.hub.gated:
            return self.refuse(403, "GatedRepo", "Access to it is restricted")
        files = self.hub.files(repository, revision)
        if files is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        commit = self.hub.branches.get((repository, revision), revision)
        if kind == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self.say({"id": repository, "sha": commit, "private": False, "tags": [], "siblings": siblings})
        if kind == "tree":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            return self.say(entries)
        name = "/".join(parts[4:])
        if name not in files:
            return self.answer(
                404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found", X_Repo_Commit=commit
            )
        etag = '"' + hashlib.sha1(files[name]).hexdigest() + '"'
        return self.answer(200, files[name], ETag=etag, X_Repo_Commit=commit, Accept_Ranges="bytes")

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"POST {path}")
        body = self.body()
        if path == "/api/validate-yaml":
            return self.say({"errors": [], "warnings": []})
        if not self.trusted():
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        if path == "/api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            if repository in self.hub.commits:
                return self.answer(409, json.dumps({"url": f"{self.hub.address}/{repository}"}).encode())
            self.hub.commit(repository, {})
            if asked.get("private") or asked.get("visibility") == "private":
                self.hub.private.add(repository)
            return self.say({"url": f"{self.hub.address}/{repository}"})
        parts = path.strip("/").split("/")
        repository, kind, branch = "/".join(parts[2:4]), parts[4], parts[5]
        if repository in self.hub.gated:
            return self.refuse(403, "", "You don't have the rights to do this")
        if self.hub.files(repository, branch) is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {branch}")
        if kind == "preupload":
            files = json.loads(body)["files"]
            return self.say(
                {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]}
            )
        lines = [json.loads(line) for line in body.splitlines()]
        added = [line["value"] for line in lines if line["key"] == "file"]
        made = self.hub.commit(repository, {one["path"]: base64.b64decode(one["content"]) for one in added}, branch)
        return self.say({"commitOid": made, "commitUrl": f"{self.hub.address}/{repository}/commit/{made}"})


@contextlib.contextmanager
def local_hub() -> Iterator[LocalHub]:
    """The server, while the block lasts."""
    hub = LocalHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
