"""What an objective is.

An objective is a function of the window, its number in the run and the seed, so resuming, world size, micro-batches and threads
change nothing. The number of a window is its place in the order of the run, counted from 0 over all processes.
Each window predicts the same number of tokens, so the mean over micro-batches and processes is the mean over all tokens. Where
padding or a document mask leaves tokens out, or the objective is not even, training/packing.py makes up for it; padding looks
like ends of documents here.

An objective says which kind of model it trains, and whether it is even, by class variables:

    kind: ClassVar[Kind] = "masked"     causal, where it says nothing
    even: ClassVar[bool] = False        windows predict different numbers of tokens; True, where it says nothing

(`even` may also be a property, where a setting decides.) One whose examples have several lengths pads them to the longest.

One that needs the tokenizer becomes another one, that has it, before the run begins (`NeedsTokenizer`).

An objective may also change documents before they are packed (`ChangesDocuments`): a function of the document and the epoch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from codeparrot.config import Config, StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.kinds import Kind, predicted
from codeparrot.stream.entries import sources_of
from codeparrot.stream.tokenized import still_to_change
from codeparrot.stream.transform import Transform

if TYPE_CHECKING:
    from codeparrot.objectives.pairs import Pairs


class Examples(NamedTuple):
    """What the model sees of a micro-batch, and what it should predict."""

    input_ids: NDArray[np.int64]
    """[windows, length]"""
    labels: NDArray[np.int64]
    """[windows, length], not shifted: a token is its own label, or codeparrot.model.IGNORED if it is not predicted."""


class Objective(Protocol):
    """A frozen dataclass; its fields are its settings, and the docstring under each is their help."""

    def examples(self, windows: NDArray[np.int64], numbers: Sequence[int], seed: int) -> Examples:
        """Return the examples that windows become.

        Args:
            windows: [windows, length] token ids; do not change them.
            numbers: of the windows in the run.
            seed: of the run.
        """
        ...

    def card(self) -> str:
        """Return the objective's line on the model card."""
        ...


@runtime_checkable
class NeedsTokenizer(Protocol):
    """What an objective has that needs the tokenizer: its settings alone make no examples."""

    def card(self) -> str: ...

    def fitted(self, tokenizer: Any) -> Objective:
        """Return the objective for a tokenizer of transformers.

        Raises:
            CodeparrotError: the tokenizer lacks what it needs.
        """
        ...


@runtime_checkable
class ChangesLengths(Protocol):
    """What an objective has whose inputs and labels are not as long as the windows."""

    def lengths(self, length: int) -> tuple[int, int]:
        """Return the tokens of inputs and of labels that windows of `length` tokens become.

        Raises:
            CodeparrotError: they cannot be made of such windows.
        """
        ...


@runtime_checkable
class MakesFixedExamples(Protocol):
    """What an objective has whose examples are drawn: evaluations measure the same ones each time."""

    def of_validation(self, window: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return input ids and labels of a window, [length], as a function of what it holds alone."""
        ...


def fitted(objective: Objective | NeedsTokenizer, tokenizer: Any) -> Objective:
    """Return the objective that makes the examples of a run.

    Raises:
        CodeparrotError: the tokenizer lacks what it needs.
    """
    return objective.fitted(tokenizer) if isinstance(objective, NeedsTokenizer) else objective


def kind_trained(objective: object) -> Kind:
    """Return the kind of model that an objective trains."""
    return getattr(objective, "kind", "causal")


def is_even(objective: object) -> bool:
    """Return whether an objective predicts equally many tokens in each window."""
    return getattr(objective, "even", True)


def head_share(objective: object) -> float:
    """Return the share of the tokens whose logits an objective needs."""
    return getattr(objective, "head_share", 1.0)


def lengths_of(objective: object, length: int) -> tuple[int, int]:
    """Return how many tokens a window of `length` gives the model to read, and to predict from."""
    own = getattr(objective, "lengths", None)
    return own(length) if own else (length, length)


def padding_of(objective: object, length: int) -> tuple[float, float]:
    """Return the shares of padding in what the model reads, and predicts from, of windows of `length` tokens without any."""
    own = getattr(objective, "padding", None)
    return own(length) if own else (0.0, 0.0)


def longest(objective: object, length: int) -> int:
    """Return how many positions the model needs for windows of `length` tokens."""
    return max(lengths_of(objective, length))


def check_windows(objective: object, stream: StreamConfig) -> None:
    """Check that the objective can make examples of the windows of a run.

    Raises:
        CodeparrotError: it cannot.
    """
    if kind_trained(objective) == "encoder-decoder":
        asked = {"stream.packing best_fit": stream.packing == "best_fit", "stream.document_mask": stream.document_mask}
        for setting in (name for name, on in asked.items() if on):
            words = "inputs and targets of an encoder-decoder are not in the places of a window's documents"
            raise CodeparrotError(f"{setting}: {words}; leave it out")
    lengths_of(objective, stream.seq_length)


@runtime_checkable
class ChangesDocuments(Protocol):
    """What an objective has that changes documents before they are packed."""

    def transform(self, tokenizer: Any, seed: int, seq_length: int) -> Transform | None:
        """Return what changes documents, or None if the settings leave them as they are.

        Args:
            tokenizer: of transformers.
            seed: of the run.
            seq_length: tokens in a window.

        Raises:
            CodeparrotError: the tokenizer lacks what it needs.
        """
        ...


@runtime_checkable
class LearnsPairs(Protocol):
    """What an objective has that learns documents with descriptions."""

    def pairs(self, column: str, tokenizer: Any, seed: int, seq_length: int) -> "Pairs":
        """Return what makes pairs of them.

        Args:
            column: that holds the descriptions.
            tokenizer, seed, seq_length: see `ChangesDocuments`.
        """
        ...


def card_of(objective: Any, train: Any) -> str:
    """Return the objective's line on the model card. `train`: `stream.train` of the run."""
    if not any(source.description for source in sources_of(train)):
        return objective.card()
    described = f"{objective.describe_rate:.0%} of the descriptions from the code, in the other pairs the code"
    return f"{objective.card()}; in sources with descriptions pairs instead, predicted are {described}"


def changes_of(objective: object, config: Config, tokenizer: Any) -> Transform | None:
    """Return what the objective of a run changes documents with, or None.

    Raises:
        CodeparrotError: the tokenizer lacks what it needs.
    """
    own = tokenizer, config.run.seed, config.stream.seq_length
    return objective.transform(*own) if isinstance(objective, ChangesDocuments) else None


def transforms_of(objective: object, config: Config, tokenizer: Any) -> list[Transform | None]:
    """Return what changes the documents of each source of a run as they are read.

    None where nothing does, or they are windows made so.

    Raises:
        CodeparrotError: the tokenizer lacks what it needs, or the documents are windows that were made in another way.
    """
    asked = changes_of(objective, config, tokenizer)
    return [
        pairs_of(objective, config, tokenizer, source.description) or still_to_change(source.path, asked)
        for source in sources_of(config.stream.train)
    ]


def pairs_of(objective: object, config: Config, tokenizer: Any, column: str) -> "Pairs | None":
    """Return what makes pairs of documents and the descriptions in a column; None without one.

    Raises:
        CodeparrotError: the objective learns no pairs.
    """
    if not column:
        return None
    if not isinstance(objective, LearnsPairs):
        raise CodeparrotError(
            f'stream.train: only objective.name causal learns pairs; set it, or remove description "{column}" from the source'
        )
    return objective.pairs(column, tokenizer, config.run.seed, config.stream.seq_length)


def check_even(examples: Examples, kind: Kind = "causal") -> None:
    """Check that each window predicts the same number of tokens.

    Raises:
        CodeparrotError: the numbers differ, so the loss would not be the mean over the tokens of the global batch.
    """
    if examples.labels is examples.input_ids:
        return
    counts = np.count_nonzero(predicted(examples.labels, kind) != IGNORED, axis=1)
    if counts.min() != counts.max() or counts.min() == 0:
        words = f"from {counts.min()} to {counts.max()} tokens a window"
        raise CodeparrotError(f"the objective predicts {words}: it must predict equally many, and at least one, in each")
