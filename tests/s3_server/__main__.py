"""`python -m tests.s3_server PORT FOLDER`: serves the files below FOLDER/data as the bucket `bucket`.

FOLDER/requests.jsonl gets a line a request: method, path, range, and the bytes of the answer. While FOLDER/slow exists, each
request waits for the seconds that stand in it; while FOLDER/deny exists, each is denied; while FOLDER/dead exists, connections
break off without an answer, and the bucket keeps what it has.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Recorded:
    """A WSGI application between the clients and moto's."""

    def __init__(self, application: Any, folder: Path) -> None:
        self.application, self.folder, self.lock = application, folder, threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if (slow := self.folder / "slow").exists():
            time.sleep(float(slow.read_text()))
        if (self.folder / "deny").exists():
            start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(DENIED)))])
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else DENIED]
        if (self.folder / "dead").exists():
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        parts = list(self.application(environ, start_response))
        facts = {"method": environ["REQUEST_METHOD"], "path": environ["PATH_INFO"], "query": environ["QUERY_STRING"]}
        facts |= {"range": environ.get("HTTP_RANGE"), "bytes": sum(map(len, parts))}
        with self.lock, (self.folder / "requests.jsonl").open("a") as log:
            log.write(json.dumps(facts) + "\n")
        return parts


def main(port: int, folder: Path) -> None:
    application = DomainDispatcherApplication(create_backend_app)
    fill(application, folder / "data")
    # Only now, so that nobody finds a bucket that is still being filled.
    server = make_server("127.0.0.1", port, Recorded(application, folder), threaded=True)
    (folder / "port").write_text(str(server.port))
    server.serve_forever()


def fill(application: Any, data: Path) -> None:
    """Put the files into the bucket, through a server of its own."""
    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.port}", **keys)
    client.create_bucket(Bucket=BUCKET)
    for file in sorted(data.rglob("*")):
        if file.is_file():
            client.put_object(Bucket=BUCKET, Key=str(file.relative_to(data)), Body=file.read_bytes())
    server.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
