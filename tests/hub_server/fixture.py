"""The Hub as a test sees it: start, stop and kill it, make it fail, and inspect its contents and the requests it got.

    with serve(tmp_path / "hub") as hub:
        hub.faults.answer(503, times=2, path="/commit/")
        subprocess.run(command, env=hub.environment(), check=True)
        assert [commit.title for commit in hub.commits("me/model", "run")] == ["initial commit", "step 10"]
        assert hub.files("me/model", "run")["config.json"] == (checkpoint / "config.json").read_bytes()

`huggingface_hub` reads its environment when it is imported. A subprocess gets `hub.environment()`. Within the test's process
use `hub.api()`, or pass `endpoint=hub.url, token=hub.token` to its functions; functions without an endpoint argument
(`from_pretrained`, `load_dataset`) go into a subprocess.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub_server.access import new_token
from tests.hub_server.errors import stale_parent
from tests.hub_server.store import Commit, Store

if TYPE_CHECKING:
    from huggingface_hub import HfApi

USER = "me"
ROOT = Path(__file__).parents[2]


class Faults:
    """Faults of a running server. Methods that add a rule return its number, for `remove`.

    They share these keywords: `path` (a regular expression to search for in the path of the request, where the slash of a
    branch is %2F), `method`, `skip` (how many matching requests pass first), `times` (how many are hit; default: all until the
    rule is removed), `share` and `seed` (hit this part of the matching requests, at random).
    """

    def __init__(self, hub: "HubServer") -> None:
        self._hub = hub

    def answer(self, status: int, *, retry_after: int | None = None, code: str | None = None, **match: Any) -> int:
        """Answer with an error; `code` is its X-Error-Code. The request is not carried out."""
        return self._add("answer", status=status, retry_after=retry_after, code=code, **match)

    def reject_parent(self, **match: Any) -> int:
        """Answer commits as if another one had come in between."""
        return self._add(
            "answer",
            status=412,
            message=stale_parent().message,
            **{"path": "/commit/", **match},
        )

    def stall(self, seconds: float | None = None, **match: Any) -> int:
        """Make requests wait; None: until the rule is removed. Requests whose client has gone are not carried out."""
        return self._add("stall", seconds=seconds, **match)

    def cut_upload(self, after_bytes: int, **match: Any) -> int:
        """End the connection within the body of a PUT (an LFS object), or of another `method`."""
        return self._add("cut_upload", after_bytes=after_bytes, **{"method": "PUT", **match})

    def cut_download(self, after_bytes: int, **match: Any) -> int:
        """End the connection within the body of the answer to a GET."""
        return self._add("cut_download", after_bytes=after_bytes, **{"method": "GET", **match})

    def lose_answer(self, **match: Any) -> int:
        """Carry out the request (a commit exists then), and end the connection without an answer."""
        return self._add("lose_answer", **match)

    def ignore_range(self, **match: Any) -> int:
        """Send whole files to whoever asks for parts."""
        return self._add("ignore_range", **match)

    def remove(self, number: int) -> None:
        """Raises RuntimeError if there is no such rule."""
        self._hub.ask("remove_faults", number=number)

    def refuse(self) -> None:
        """End all connections and refuse new ones until `accept`."""
        self._hub.ask("refuse")

    def accept(self) -> None:
        self._hub.ask("accept")

    def deny(self) -> None:
        """Make the write token invalid until `allow`."""
        self._hub.ask("deny", token=self._hub.token)

    def allow(self) -> None:
        self._hub.ask("allow", token=self._hub.token, name=USER, role="write")

    def limit_uploads(self, bytes_per_second: float | None) -> None:
        """Read request bodies no faster than this over all connections. None: as fast as they come."""
        self._hub.ask("limit_uploads", rate=bytes_per_second)

    def clear(self) -> None:
        """Make everything work again; held requests continue."""
        self._hub.ask("remove_faults", number=None)
        self.limit_uploads(None)
        self.allow()
        self.accept()

    def _add(self, kind: str, **settings: Any) -> int:
        return self._hub.ask("add_fault", settings={"kind": kind, **settings})


class HubServer:
    """`folder` outlives it. After a kill and a restart it has the same port and tokens, and no faults."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = new_token()
        """May write. No file or log of the server holds it."""
        self.read_token = new_token()
        self.faults = Faults(self)
        self.port = 0
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """Process id, while it runs."""
        assert self._process
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.hub_server", "--control", "--folder", self.folder, "--port", str(self.port)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
        # A group of its own: Ctrl-C in a test must not reach it.
        self._process = subprocess.Popen(command, **pipes, process_group=0)
        self.port = self._read()["port"]
        self.faults.allow()
        self.ask("allow", token=self.read_token, name="reader", role="read")

    def stop(self) -> None:
        if self._process:
            self._process.communicate()  # closes its input, which ends it
            self._process = None

    def kill(self) -> None:
        """SIGKILL it in the middle of whatever it does."""
        assert self._process
        self._process.kill()
        self.stop()

    def ask(self, command: str, **settings: Any) -> Any:
        """Send a command of control.py. Raises RuntimeError if the server does not accept it."""
        assert self._process and self._process.stdin
        with self._lock:
            self._process.stdin.write(json.dumps({"command": command, **settings}) + "\n")
            self._process.stdin.flush()
            answer = self._read()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def _read(self) -> Any:
        assert self._process and self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the Hub has ended, with status {self._process.wait()}")
        return json.loads(line)

    def environment(self, home: Path | None = None) -> dict[str, str]:
        """Environment for a subprocess that takes this server for the Hub; `home` holds its caches."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_OFFLINE"))}
        return {
            **inherited,
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token,
            "HF_HOME": str(home or self.folder / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }

    def api(self, token: str | None = None) -> "HfApi":
        """A client in this process; `token` replaces the one that may write."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.url, token=token or self.token)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """In order of arrival: method, path, query, status (None: not answered yet, or never), fault, user,
        received_bytes (of the body), sent_bytes (of the answer's), started (seconds since 1970), range (the requested part
        of a file)."""
        return self.ask("requests")

    def forget_requests(self) -> None:
        self.ask("forget_requests")

    def wait_for_request(self, path: str, *, fault: str | None = None, seconds: float = 60) -> None:
        """Wait for a request with `path` in its path that `fault` hit. Raises TimeoutError."""
        if not self.ask("wait_for_request", path=path, fault=fault, seconds=seconds):
            raise TimeoutError(f"nobody asked for {path} in {seconds} s")

    @property
    def lfs_bytes(self) -> int:
        """Bytes uploaded as LFS objects, broken-off uploads included."""
        return sum(each["received_bytes"] for each in self.requests if each["method"] == "PUT")

    def commits(self, repo: str, revision: str = "main", *, kind: str = "models") -> list[Commit]:
        """Oldest first, straight from git: (oid, title, message, author, time)."""
        return Store(self.folder).repository(kind, repo).log(revision)[::-1]

    def files(self, repo: str, revision: str = "main", *, kind: str = "models") -> dict[str, bytes]:
        """Content by path, straight from git and the folder of LFS objects."""
        repository = Store(self.folder).repository(kind, repo)
        entries = repository.entries(repository.resolve(revision)).values()
        return {entry.path: repository.read(entry) for entry in entries if not entry.is_folder}


@contextmanager
def serve(folder: Path) -> Iterator[HubServer]:
    """A running Hub whose repositories are in `folder`; it ends with the block."""
    hub = HubServer(folder)
    hub.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            # The environment tells a subprocess; this process may have imported the client already.
            patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
            yield hub
    finally:
        hub.stop()
