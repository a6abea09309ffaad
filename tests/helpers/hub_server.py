"""A hub on 127.0.0.1 that answers the file routes of huggingface_hub for repositories in a folder.

Run as `python hub_server.py FOLDER`; it prints its port, then one line per request. Repositories lie in
FOLDER/models/owner/name and FOLDER/datasets/owner/name. No other host is ever named in an answer.
"""

import hashlib
import http.server
import json
import sys
import urllib.parse
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    root = Path()
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        print(self.command, self.path, flush=True)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/")
        parts = path.split("/")
        if parts[0] == "api" and len(parts) >= 4:
            return self.answer_api(parts[1], "/".join(parts[2:4]), parts[4:], body)
        kind = "datasets" if parts[0] == "datasets" else "models"
        parts = parts[1:] if kind == "datasets" else parts
        if len(parts) > 4 and parts[2] == "resolve":
            return self.answer_file(kind, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self.refuse("RepoNotFound")

    do_HEAD = do_GET  # noqa: N815  (http.server looks for these names)
    do_POST = do_GET  # noqa: N815

    def answer_api(self, kind, repository, rest, body):
        folder = self.root / kind / repository
        if not folder.is_dir():
            return self.refuse("RepoNotFound")
        if not rest or rest[0] == "revision":
            if rest and rest[1] not in ("main", COMMIT):
                return self.refuse("RevisionNotFound")
            siblings = [{"rfilename": name} for name in sorted(self.names(folder))]
            facts = {"id": repository, "sha": COMMIT, "private": False, "tags": [], "downloads": 0}
            return self.send(json.dumps({**facts, "siblings": siblings}).encode())
        if rest[0] == "tree":
            wanted = "/".join(rest[2:])
            entries = [self.entry(folder, n) for n in self.names(folder) if n.startswith(wanted)]
            return self.send(json.dumps(entries).encode()) if entries else self.refuse("EntryNotFound")
        if rest[0] == "paths-info":
            fields = urllib.parse.parse_qs(body)
            paths = json.loads(body)["paths"] if body.startswith("{") else fields.get("paths", [])
            entries = [self.entry(folder, name) for name in paths if (folder / name).is_file()]
            return self.send(json.dumps(entries).encode())
        return self.refuse("EntryNotFound")

    def answer_file(self, kind, repository, revision, name):
        folder = self.root / kind / repository
        if not folder.is_dir():
            return self.refuse("RepoNotFound")
        if revision not in ("main", COMMIT):
            return self.refuse("RevisionNotFound")
        if not (folder / name).is_file():
            return self.refuse("EntryNotFound")
        content = (folder / name).read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        return self.send(content, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"})

    def names(self, folder):
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def entry(self, folder, name):
        content = (folder / name).read_bytes()
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def refuse(self, code):
        self.send(json.dumps({"error": code}).encode(), {"X-Error-Code": code, "X-Error-Message": code}, 404)

    def send(self, content, headers=None, status=200):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args):
        """Print nothing: `do_GET` writes its own line."""


if __name__ == "__main__":
    Hub.root = Path(sys.argv[1])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
