"""A store as a test sees it: Google's as gcp-storage-emulator, Azure's as Azurite, which Microsoft makes (npm)."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from codeparrot.stream.readers import patience, remote
from tests.s3_server.fixture import forget

START_SECONDS = 60.0
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's, which everybody knows."""
_UNSET = ("GOOGLE_APPLICATION_CREDENTIALS", "FSSPEC_GS_TOKEN", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_SAS_TOKEN")


class Store:
    """A server on 127.0.0.1 with one bucket, `bucket`."""

    def __init__(self, scheme: str, folder: Path) -> None:
        self.scheme, self.folder, self.port = scheme, folder, _free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _command(self) -> list[str]:
        place = ["127.0.0.1", str(self.port), str(self.folder)]
        if self.scheme == "gs":
            program = [sys.executable, "-m", "gcp_storage_emulator", "--data-dir", place[2]]
            return [*program, "start", "--host", place[0], "--port", place[1], "--default-bucket", "bucket"]
        program = ["azurite-blob", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        return [*program, "--blobHost", place[0], "--blobPort", place[1], "--location", place[2]]

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it. No request leaves this machine."""
        url = f"http://127.0.0.1:{self.port}"
        if self.scheme == "gs":
            return {"STORAGE_EMULATOR_HOST": url, "NO_GCE_CHECK": "true", "CLOUDSDK_CONFIG": str(self.folder / "no-gcloud")}
        account = f"AccountName=devstoreaccount1;AccountKey={AZURE_KEY};BlobEndpoint={url}/devstoreaccount1;"
        return {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{account}"}

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, (self.folder / "server.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def make_bucket(self) -> None:
        if self.scheme == "az":
            remote.file_system("az://bucket").mkdir("bucket")

    def put(self, name: str, file: Path) -> str:
        """Put a file into the bucket; return its address."""
        address = f"{self.scheme}://bucket/{name}"
        remote.write(address, file)
        return address


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(params=["gs", "az"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Start a server of its own for a test, which this process uses by the environment."""
    if request.param == "az" and not shutil.which("azurite-blob"):
        # Continuous integration installs it: a skip there would hide that nothing was tested.
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("azurite-blob is not installed (.ci/packages, or npm install --global azurite)")
    server = Store(request.param, tmp_path / "store")
    server.start()
    for name in _UNSET:
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patience, "FIRST_SECONDS", 3.0)
    forget()
    server.make_bucket()
    yield server
    server.kill()
    forget()
