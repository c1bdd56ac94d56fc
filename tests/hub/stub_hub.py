"""A stand-in for the Hugging Face Hub on 127.0.0.1, so that publishing and loading are tested without a network.

It answers what huggingface_hub asks to create a repository, commit files, list them and download them, for models,
data sets and Spaces alike. Every file is a regular one: the client sends its content within the commit, and neither
LFS nor Xet is involved. Whatever it does not know is answered with an error and noted in `StubHub.unknown`.
"""

import base64
import hashlib
import json
import os
import re
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit


USER = "user"
TOKEN = "hf_stub"

REPOSITORY = r"(?P<name>[^/]+/[^/]+)"
API = r"/api/(?P<kind>model|dataset|space)s/" + REPOSITORY
RESOLVE = r"/((?P<kind>dataset|space)s/)?" + REPOSITORY + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)"


class NotFoundError(LookupError):
    """What the Hub reports in the header X-Error-Code: RepoNotFound, RevisionNotFound or EntryNotFound."""


@dataclass
class Repository:
    """One repository; only its main branch exists."""

    private: bool
    sdk: str | None = None
    """Of a Space."""
    commits: list[tuple[str, str]] = field(default_factory=list)
    """(sha, message), oldest first."""
    snapshots: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """The files after each commit, by its sha."""

    def __post_init__(self):
        self.commit({}, "initial commit")

    @property
    def sha(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, bytes]:
        return self.snapshots[self.sha]

    def commit(self, files: dict[str, bytes], message: str) -> None:
        sha = hashlib.sha1(f"{len(self.commits)} {message} {sorted(files)}".encode()).hexdigest()
        self.commits.append((sha, message))
        self.snapshots[sha] = files

    def resolve(self, revision: str) -> str:
        """The sha of a revision."""
        sha = self.sha if revision == "main" else revision
        if sha not in self.snapshots:
            raise NotFoundError("RevisionNotFound")
        return sha


def blob_id(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class StubHub:
    """Serves repositories from memory, from `with` until its end.

    `repositories` maps ("model", "dataset" or "space", "namespace/name") to a `Repository`; `requests` lists what was
    asked, as "METHOD path"; `unknown` those that the stub has no answer for. `token` is what the Hub says of the
    token, `organisations` of those that the user is in.
    """

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.unknown: list[str] = []
        self.token: dict = {"displayName": "laptop", "role": "write"}
        self.organisations: list[dict] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (StubHandler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "StubHub":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse all further connections; stopping twice is harmless."""
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Environment variables of a process that sees this Hub and no other, logged in, with its own empty cache."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
        return {
            **kept,
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            **more,
        }


class StubHandler(BaseHTTPRequestHandler):
    """One connection; `hub` is set by the subclass that StubHub makes."""

    hub: StubHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        """Nothing: the tests read `StubHub.requests`."""

    def do_GET(self) -> None:
        """Find the route of this request and answer it."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = urlsplit(self.path)
        path = unquote(address.path)
        method = "GET" if self.command == "HEAD" else self.command
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {path}")
            if method == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(HTTPStatus.UNAUTHORIZED, {"error": "Invalid username or password."})
            for route_method, pattern, route in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and route_method == method:
                    try:
                        return route(self, body, parse_qs(address.query), **match.groupdict())
                    except NotFoundError as error:
                        headers = {"X-Error-Code": str(error), "X-Error-Message": str(error)}
                        return self.answer(HTTPStatus.NOT_FOUND, {"error": str(error)}, headers)
            self.hub.unknown.append(f"{self.command} {self.path}")
            return self.answer(HTTPStatus.NOT_IMPLEMENTED, {"error": f"the stub does not know {self.path}"})

    def answer(self, status: HTTPStatus, content: dict | list | bytes, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815
    do_POST = do_GET  # noqa: N815

    def repository(self, kind: str | None, name: str) -> Repository:
        """A repository that the caller may see."""
        found = self.hub.repositories.get((kind or "model", name))
        if found is None or (found.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            raise NotFoundError("RepoNotFound")
        return found

    def whoami(self, body: bytes, query: dict) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(HTTPStatus.UNAUTHORIZED, {"error": "Invalid username or password."})
        auth = {"type": "access_token", "accessToken": self.hub.token}
        user = {"type": "user", "name": USER, "orgs": self.hub.organisations, "auth": auth}
        return self.answer(HTTPStatus.OK, user)

    def create(self, body: bytes, query: dict) -> None:
        wanted = json.loads(body)
        kind, name = wanted.get("type", "model"), f"{wanted['organization'] or USER}/{wanted['name']}"
        prefix = "" if kind == "model" else f"{kind}s/"
        reply = {"url": f"{self.hub.endpoint}/{prefix}{name}", "name": name}
        if (kind, name) in self.hub.repositories:
            return self.answer(HTTPStatus.CONFLICT, {"error": "You already created this repo", **reply})
        private = wanted.get("visibility") == "private"
        self.hub.repositories[kind, name] = Repository(private, wanted.get("sdk"))
        return self.answer(HTTPStatus.OK, reply)

    def validate_card(self, body: bytes, query: dict) -> None:
        self.answer(HTTPStatus.OK, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, query: dict, kind: str, name: str, revision: str) -> None:
        files = self.repository(kind, name).files
        replies = []
        for wanted in json.loads(body)["files"]:
            path = wanted["path"]
            oid = blob_id(files[path]) if path in files else None
            replies.append({"path": path, "uploadMode": "regular", "shouldIgnore": False, "oid": oid})
        self.answer(HTTPStatus.OK, {"files": replies})

    def commit(self, body: bytes, query: dict, kind: str, name: str, revision: str) -> None:
        repository = self.repository(kind, name)
        files, message = dict(repository.files), ""
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "header":
                    message = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "deletedFile":
                    del files[value["path"]]
                case "deletedFolder":
                    files = {path: files[path] for path in files if not path.startswith(value["path"])}
        repository.commit(files, message)
        url = f"{self.hub.endpoint}/{name}/commit/{repository.sha}"
        self.answer(HTTPStatus.OK, {"success": True, "commitOid": repository.sha, "commitUrl": url})

    def info(self, body: bytes, query: dict, kind: str, name: str, revision: str | None) -> None:
        repository = self.repository(kind, name)
        sha = repository.resolve(revision or "main")
        siblings = [
            {"rfilename": path, "size": len(content), "blobId": blob_id(content)}
            for path, content in sorted(repository.snapshots[sha].items())
        ]
        reply = {"id": name, "sha": sha, "private": repository.private, "siblings": siblings, "tags": []}
        if kind == "space":
            reply["sdk"] = repository.sdk
        self.answer(HTTPStatus.OK, reply)

    def tree(self, body: bytes, query: dict, kind: str, name: str, revision: str, path: str | None) -> None:
        """Files and folders below `path`; only its direct children unless recursive=True."""
        repository = self.repository(kind, name)
        files = repository.snapshots[repository.resolve(revision)]
        start = f"{path}/" if path else ""
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries: dict[str, dict] = {}
        for file, content in sorted(files.items()):
            if not file.startswith(start):
                continue
            parts = file.removeprefix(start).split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                folder = start + "/".join(parts[:depth])
                entries[folder] = {"type": "directory", "path": folder, "size": 0, "oid": blob_id(folder.encode())}
            if recursive or len(parts) == 1:
                entries[file] = {"type": "file", "path": file, "size": len(content), "oid": blob_id(content)}
        if path and not entries:
            raise NotFoundError("EntryNotFound")
        self.answer(HTTPStatus.OK, list(entries.values()))

    def resolve(self, body: bytes, query: dict, kind: str | None, name: str, revision: str, path: str) -> None:
        """A file or, if the header Range asks for it, a part of one."""
        repository = self.repository(kind, name)
        sha = repository.resolve(revision)
        content = repository.snapshots[sha].get(path)
        if content is None:
            raise NotFoundError("EntryNotFound")
        headers = {"ETag": f'"{blob_id(content)}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part is None:
            return self.answer(HTTPStatus.OK, content, headers)
        start, end = int(part[1]), min(int(part[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return self.answer(HTTPStatus.PARTIAL_CONTENT, content[start : end + 1], headers)


ROUTES = (
    ("GET", r"/api/whoami-v2", StubHandler.whoami),
    ("POST", r"/api/repos/create", StubHandler.create),
    ("POST", r"/api/validate-yaml", StubHandler.validate_card),
    ("POST", API + r"/preupload/(?P<revision>[^/]+)", StubHandler.preupload),
    ("POST", API + r"/commit/(?P<revision>[^/]+)", StubHandler.commit),
    ("GET", API + r"(/revision/(?P<revision>.+))?", StubHandler.info),
    ("GET", API + r"/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", StubHandler.tree),
    ("GET", RESOLVE, StubHandler.resolve),
)
