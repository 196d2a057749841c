"""`python -m benchmarks.s3_server FOLDER`: the folder as a bucket, for figures of what reads from S3.

It answers GET with a range, HEAD and ListObjectsV2, a thread a connection, and prints its port. moto spends several times as
long on a request, so that a stream from it would measure moto.
"""

import hashlib
import sys
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"


@cache
def etag(file: Path) -> str:
    return f'"{hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder = Path()

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        _, _, key = unquote(asked.path).lstrip("/").partition("/")
        if not key:
            self._answer(200, self._listing(parse_qs(asked.query).get("prefix", [""])[0]), {"Content-Type": "application/xml"})
            return
        file = self.folder / key
        if not file.is_file():
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
            return
        size = file.stat().st_size
        first, last = 0, size - 1
        if given := self.headers.get("Range"):
            begin, _, end = given.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
        facts = {"ETag": etag(file), "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "Accept-Ranges": "bytes"}
        if given:
            facts["Content-Range"] = f"bytes {first}-{last}/{size}"
        content = b""
        if self.command == "GET":
            with file.open("rb") as opened:
                opened.seek(first)
                content = opened.read(last - first + 1)
        self._answer(206 if given else 200, content, facts, last - first + 1)

    do_HEAD = do_GET

    def _listing(self, prefix: str) -> bytes:
        found = sorted(file for file in self.folder.rglob("*") if file.is_file())
        keys = [(str(file.relative_to(self.folder)), file) for file in found]
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{file.stat().st_size}</Size><ETag>{escape(etag(file))}</ETag>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, file in keys
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()

    def _answer(self, status: int, content: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests."""


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1]).resolve()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
