"""What goes wrong, for which requests and how often. Rules are added and removed at run time; the first that fires counts.

| kind | what happens to the request | what the client sees |
|---|---|---|
| answer | nothing; its body is read and an error is the answer | the status, with Retry-After where `retry_after` says so |
| stall | it waits `seconds`, or until the rule is removed, then continues if the client is still there | no answer |
| cut_upload | the connection ends when `after_bytes` of its body were read | a connection that ends without an answer |
| cut_download | the connection ends when `after_bytes` of the answer's body were sent | a body that is too short |
| lose_answer | it is carried out; the connection ends instead of the answer | a connection that ends without an answer |
| ignore_range | it is carried out as if it asked for the whole file | 200 and all of it, where it asked for a part |

A rule with a `share` draws the requests it hits with its own random generator, from its `seed`: among the same requests in the
same order it hits the same ones again.
"""

import random
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

KINDS = ("answer", "stall", "cut_upload", "cut_download", "lose_answer", "ignore_range")


@dataclass
class Rule:
    kind: str
    method: str = ""
    """A regular expression for the whole method; empty is any."""
    path: str = ""
    """A regular expression to search for in the path as sent (a slash in a branch is %2F)."""
    skip: int = 0
    """How many matching requests it first lets pass."""
    times: int | None = None
    """How many requests it hits; None is all."""
    share: float = 1.0
    """The part of the matching requests that it hits."""
    seed: int = 0
    status: int = 500
    retry_after: int | None = None
    """Seconds."""
    message: str = "a fault of the server"
    code: str | None = None
    """X-Error-Code of the answer."""
    seconds: float | None = None
    after_bytes: int = 0
    matched: int = 0
    fired: int = 0
    ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"there is no fault {self.kind}")
        self._random = random.Random(self.seed)

    def meets(self, method: str, path: str) -> bool:
        if self.times is not None and self.fired >= self.times:
            return False
        if (self.method and not re.fullmatch(self.method, method)) or not re.search(self.path, path):
            return False
        self.matched += 1
        if self.matched <= self.skip or self._random.random() >= self.share:
            return False
        self.fired += 1
        return True


class UploadLimit:
    """Bytes per second that all connections share; None is no limit."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._lock = threading.Lock()
        self._free_at = 0.0

    @property
    def chunk_bytes(self) -> int:
        """Small enough that connections take turns many times a second."""
        return 65_536 if self.rate is None else max(1_024, min(65_536, int(self.rate / 20)))

    def take(self, count: int) -> None:
        with self._lock:
            if self.rate is None:
                return
            self._free_at = max(time.monotonic(), self._free_at) + count / self.rate
            wait = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait))


class Faults:
    def __init__(self) -> None:
        self.uploads = UploadLimit()
        self._lock = threading.Lock()
        self._rules: dict[int, Rule] = {}
        self._added = 0

    def add(self, settings: dict[str, Any]) -> int:
        """Add a rule and return its number."""
        rule = Rule(**settings)
        with self._lock:
            self._added += 1
            self._rules[self._added] = rule
            return self._added

    def remove(self, number: int | None) -> None:
        """Remove one rule, or all; requests that they hold continue."""
        with self._lock:
            for each in [number] if number else list(self._rules):
                self._rules.pop(each).ended.set()

    def meet(self, method: str, path: str) -> Rule | None:
        with self._lock:
            return next((rule for rule in self._rules.values() if rule.meets(method, path)), None)
