"""Counters of the server, in the text format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.3, 0.6, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The counters of one server: several in a process do not share them."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self.requests = Counter("codeparrot_requests", "Answered requests", ["endpoint", "status"], registry=own)
        self.request_seconds = Histogram(
            "codeparrot_request_seconds",
            "Time until a request was answered whole",
            ["endpoint"],
            buckets=_SECONDS,
            registry=own,
        )
        self.prompt_seconds = Histogram(
            "codeparrot_prompt_seconds", "Time from a request to its first token", buckets=_SECONDS, registry=own
        )
        self.prompt_tokens = Counter("codeparrot_prompt_tokens", "Tokens of prompts", registry=own)
        self.cached_tokens = Counter("codeparrot_cached_tokens", "Tokens of prompts that the prefix cache had", registry=own)
        self.new_tokens = Counter("codeparrot_new_tokens", "Tokens of completions", registry=own)
        self.ended = Counter("codeparrot_completions", "Completions that ended", ["why"], registry=own)
        self.refused = Counter("codeparrot_queue_refusals", "Requests refused because the queue was full", registry=own)
        self.unfinished = Gauge("codeparrot_unfinished_requests", "Requests that wait or run", registry=own)

    def text(self) -> tuple[bytes, str]:
        """Return all of them and their media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
