"""The server as a test sees it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from codeparrot.stream.readers import patience, ranges, remote, unranged
from tests.launching import ROOT

START_SECONDS = 60.0


class S3Server:
    """A server on 127.0.0.1 with one bucket.

    Args:
        folder: `data` below it is what the bucket holds when the server starts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.port = folder, folder / "data", 0
        self.data.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, on the same port as before."""
        said = self.folder / "port"
        said.unlink(missing_ok=True)
        environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true"}
        command = [sys.executable, "-m", "tests.s3_server", str(self.port), str(self.folder)]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not said.exists() or not said.read_text():
            assert self._process.poll() is None and time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.02)
        self.port = int(said.read_text())

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def put(self, name: str, content: bytes | Path) -> str:
        """Put a file into the bucket, now and whenever the server starts; return its address."""
        file = self.data / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        if self._process is not None:
            self.client.put_object(Bucket="bucket", Key=name, Body=file.read_bytes())
        return f"s3://bucket/{name}"

    @property
    def client(self) -> Any:
        import boto3

        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.url, **keys)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it. No request leaves this machine."""
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        quiet = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return {"AWS_ENDPOINT_URL": self.url, **keys, **quiet}

    @property
    def requests(self) -> list[dict[str, Any]]:
        log = self.folder / "requests.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def forget_requests(self) -> None:
        (self.folder / "requests.jsonl").unlink(missing_ok=True)

    def fetched(self) -> int:
        """Return the bytes of all files, or parts of files, that were sent."""
        return sum(each["bytes"] for each in self.requests if each["method"] == "GET" and each["path"].count("/") > 1)

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Have each request wait."""
        (self.folder / "slow").write_text(str(seconds))
        yield
        (self.folder / "slow").unlink()

    @contextmanager
    def denying(self) -> Iterator[None]:
        """Have each request be denied."""
        (self.folder / "deny").touch()
        yield
        (self.folder / "deny").unlink()

    @contextmanager
    def dead(self) -> Iterator[None]:
        """Have each connection break off. What the bucket holds stays."""
        (self.folder / "dead").touch()
        yield
        (self.folder / "dead").unlink()

    def holds(self, prefix: str = "") -> dict[str, int]:
        """Return the bytes of what the bucket holds, by key."""
        found = self.client.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
        return {each["Key"].removeprefix(prefix): each["Size"] for each in found}


def forget() -> None:
    """Have this process know no more than a new one."""
    remote.forget()
    ranges.forget()
    patience.forget()
    unranged.forget()


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Start a server of its own for a test, which this process uses by the environment."""
    server = S3Server(tmp_path / "s3")
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patience, "FIRST_SECONDS", 3.0)
    forget()
    yield server
    server.kill()
    forget()
