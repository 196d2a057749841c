"""What all endpoints of the server share: the model, its name, its limits, and the desk that completes.

The model loads in the desk's thread while the server answers already: `ready` refuses with 503 until it is there.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from codeparrot.generation.endings import StopAt
from codeparrot.serve.desk import Desk
from codeparrot.serve.fields import Refused
from codeparrot.serve.metrics import Metrics

if TYPE_CHECKING:
    from codeparrot.serve.search import Searcher
    from codeparrot.stream.sentinels import Sentinels


@dataclass(frozen=True)
class Limits:
    """What a request may ask for, and how many may wait."""

    body_bytes: int = 4 * 2**20
    body_seconds: float = 30.0
    """Until the whole body is there."""
    samples: int = 16
    """Completions of one prompt: n, best_of."""
    prompts: int = 256
    """Prompts of one request. lm-eval sends batches."""
    new_tokens: int = 4096
    stops: int = 16
    stop_characters: int = 1024
    seconds: float = 120.0
    """Of one request, from its arrival; then its completions end as they are."""
    queue: int = 64
    """Requests that wait for their turn; more are told to come again."""
    hits: int = 100
    """Of a search."""
    search_characters: int = 20_000
    """Of a text that is searched for: its vector keeps other searches waiting."""


STANDARD = Limits()


@dataclass
class Service:
    """One model, served. `model` and what follows it are set when it has been loaded."""

    name: str
    """Id of the model, as clients see it. No "gpt" in it: some choose templates of chats by it."""
    desk: Desk
    limits: Limits = STANDARD
    metrics: Metrics = field(default_factory=Metrics)
    state: Literal["loading", "ready", "stopping"] = "loading"
    model: Any = None
    tokenizer: Any = None
    spelling: Any = None
    """Of its tokens; a `Spelling`."""
    context: int | None = None
    """Most tokens of a prompt and its completion; None: no limit."""
    sentinels: "Sentinels | None" = None
    order: Literal["psm", "spm"] = "psm"
    """Of the parts of a prompt with a suffix."""
    why_not: str = ""
    """Why it cannot fill in the middle; empty where it can."""
    stop: StopAt = "none"
    """Where completions end besides what their requests name, unless a request says it (`stop_at`)."""
    language: str = ""
    """Of requests that show none."""
    searcher: "Searcher | None" = None
    """Of the index that was asked for, if any."""
    facts: dict[str, Any] = field(default_factory=dict)
    """For people: run, step, tokens, parameters, vocabulary, context, curve (pairs of tokens and loss), created (Unix time)."""

    @property
    def can_fill(self) -> bool:
        """Whether the model learned to fill in the middle."""
        return not self.why_not

    def ready(self) -> None:
        """Refuse with 503 where there is no model yet, or no longer."""
        if self.state == "loading":
            raise Refused(503, "the model is loading: try again", kind="unavailable_error", headers={"Retry-After": "2"})
        if self.state == "stopping":
            raise Refused(503, "the server is stopping", kind="unavailable_error")

    def can_fill_or_refuse(self, param: str = "suffix") -> None:
        """Refuse with 400 where the model cannot fill in the middle."""
        if self.why_not:
            raise Refused(400, self.why_not, param=param)
