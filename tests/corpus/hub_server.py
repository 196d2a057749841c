"""A Hub with one data set, `me/corpus`, enough for the real client to stream it. Run as a script: FOLDER; prints its port.

Its branch `main` moves as soon as somebody has asked what it names, to a commit without files.
"""

import hashlib
import http.server
import json
import sys
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MOVED = "f" * 40
API = "/api/datasets/me/corpus"
FILES = "/datasets/me/corpus/resolve/"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer takes 40 ms
    folder: Path
    main = COMMIT

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in (API, f"{API}/revision/main", f"{API}/revision/{COMMIT}"):
            files = [{"rfilename": file.name} for file in self.folder.iterdir()]
            commit = COMMIT if path.endswith(COMMIT) else Handler.main
            if path.endswith("/main"):
                Handler.main = MOVED
            self._send_json({"id": "me/corpus", "sha": commit, "siblings": files, "tags": []})
        elif path == f"{API}/tree/{COMMIT}":
            self._send_json([self._entry(file) for file in self.folder.iterdir()])
        elif path.startswith(FILES + COMMIT) and (self.folder / Path(path).name).is_file():
            self._send_file((self.folder / Path(path).name).read_bytes())
        else:
            code = "EntryNotFound" if path.startswith((FILES, f"{API}/tree")) else "RepoNotFound"
            self._send(404, b"{}", {"X-Error-Code": code, "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def _entry(self, file: Path) -> dict[str, Any]:
        content = file.read_bytes()
        return {"type": "file", "path": file.name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _send_file(self, content: bytes) -> None:
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range", "")
        if not wanted:
            return self._send(200, content, headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(content)), len(content) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self._send(206, content[start:stop], headers)

    def _send_json(self, answer: Any) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
