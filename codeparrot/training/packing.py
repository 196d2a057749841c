"""Windows that predict different numbers of tokens: the loss of a step stays the mean over all tokens of its global batch.

Best-fit packing leaves padding, a document mask leaves the first token of each document without one that it could be predicted
from, an objective may hide units of several tokens, and of pairs one half is given. So a micro-batch counts by the tokens that
it predicts: its mean is multiplied by its share of those of the global batch, with which the mean over micro-batches and
processes, which every strategy takes, is that over the tokens. The processes add up their counts before the first forward pass,
over gloo between CPUs.

Cost: the micro-batches of a step are in the host's memory before the step begins, 16 bytes a token, and one message a step.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.documents import within_documents
from codeparrot.model.kinds import Kind, predicted
from codeparrot.objectives.objective import Examples, is_even, kind_trained
from codeparrot.run.progress import Progress
from codeparrot.stream.entries import sources_of
from codeparrot.stream.given import are_given, unmarked
from codeparrot.training.agreement import Agreement

if TYPE_CHECKING:
    from codeparrot.training.parts import Training

logger = logging.getLogger("codeparrot")


class Uneven:
    """Makes the examples of windows with padding, and counts tokens.

    Args:
        agreement: of the processes.
        world_size: how many they are.
        end_of_document: the token that ends documents, and stands in the place of padding for objective and model.
        document_mask: whether the documents of a window do not see each other.
        kind: of the model.
    """

    def __init__(
        self, agreement: Agreement, world_size: int, end_of_document: int, document_mask: bool, kind: Kind = "causal"
    ) -> None:
        self._agreement, self._world_size, self._end = agreement, world_size, end_of_document
        self._kind: Kind = kind
        # A token that is hidden is predicted from those on both sides, wherever its document begins.
        self._leaves_out_first = document_mask and kind == "causal"
        self.tokens = 0
        """Tokens in the last global batch, without padding."""
        self.predicted = 0
        """Tokens predicted since the start, over all processes."""

    def whole(self, windows: Any) -> Any:
        """Return windows without the marks of padding and of tokens that are given."""
        return np.where(windows == IGNORED, self._end, unmarked(windows))

    def labelled(self, examples: Examples, windows: Any) -> Examples:
        """Return examples that predict no padding, nothing given, and no token that a document mask leaves without one before.

        Raises:
            CodeparrotError: labels have another shape than windows. The objective sees to it that each keeps its place.
        """
        if self._kind == "encoder-decoder":
            return examples  # its windows have no padding, nor a document mask (`check_windows`)
        if examples.labels.shape != windows.shape:
            shapes = f"{list(examples.labels.shape)} of windows {list(windows.shape)}"
            raise CodeparrotError(
                f"the objective makes labels {shapes}; leave out stream.packing best_fit and stream.document_mask"
            )
        labels = np.where((windows == IGNORED) | are_given(windows), IGNORED, examples.labels)
        if self._leaves_out_first:
            labels = within_documents(examples.input_ids, labels, self._end)
        return examples._replace(labels=labels)

    def shares(self, micro_batches: Sequence[Examples], tokens: int) -> list[float]:
        """Return what the mean loss of each micro-batch of this process is multiplied by. All processes call this.

        Args:
            micro_batches: of a step.
            tokens: in them, without padding.
        """
        counts = [int(np.count_nonzero(predicted(each.labels, self._kind) != IGNORED)) for each in micro_batches]
        self.tokens, total = self._agreement.sums(tokens, sum(counts))
        self.predicted += total
        if not total:
            logger.warning("a step predicts nothing, since all of its windows is given; its loss of 0 is none")
        return [count * len(micro_batches) * self._world_size / max(1, total) for count in counts]


def uneven(config: Config, objective: object, agreement: Agreement, world_size: int, end_of_document: int) -> Uneven | None:
    """Return what makes up for windows that predict different numbers of tokens; None if all predict equally many."""
    stream = config.stream
    pairs = any(source.description for source in sources_of(stream.train))
    if stream.packing != "best_fit" and not stream.document_mask and not pairs and is_even(objective):
        return None
    return Uneven(agreement, world_size, end_of_document, stream.document_mask, kind_trained(objective))


def micro_batches_of(training: "Training", batches: Iterator[Any], step: int) -> Iterator[tuple[Tensor, Tensor, float | None]]:
    """Yield input ids, labels and share of each micro-batch of this process in optimizer step `step`, counted from 0.

    The share is what the mean loss is multiplied by; None: all predict equally many tokens.

    Raises:
        CodeparrotError: the objective does not fit the windows.
    """
    count = training.micro_batches(step)
    if training.uneven is None:
        for number in range(count):
            yield *training.to_device(training.examples(next(batches), step, number)), None
        return
    made, tokens = [], 0
    for number in range(count):
        windows = next(batches)
        tokens += int(np.count_nonzero(windows != IGNORED))
        made.append(training.examples(windows, step, number))
    shares = training.uneven.shares(made, tokens)
    for examples, share in zip(made, shares, strict=True):
        if not share:
            # A family's own mean over nothing would be no number; multiplied by 0 it counts for nothing.
            examples.labels[0, 1] = examples.input_ids[0, 1]
        yield *training.to_device(examples), share


class PackingReport:
    """What best-fit packing leaves free and cuts. Every process makes one."""

    def __init__(self, training: "Training", begin: Progress) -> None:
        self._training, self._last, self._predicted = training, begin, 0
        self._pairs = any(source.settings.description for source in training.stream.sources)

    def step(self, progress: Progress) -> dict[str, float]:
        """Return the facts of a logged step for its line in metrics.jsonl. All processes call this.

        `padding_fraction`: share of padding in the windows since the last logged step; `cut_fraction`: share of the documents
        that lie in several windows, in the blocks packed since this start. The pieces of fill-in-the-middle count as documents.
        `predicted_fraction`, where a source has pairs: share of the tokens that were predicted since the last logged step.
        """
        training, last = self._training, self._last
        self._last = progress
        facts: dict[str, float] = {}
        if training.uneven and self._pairs:
            before, self._predicted = self._predicted, training.uneven.predicted
            facts = {"predicted_fraction": (self._predicted - before) / max(1, progress.tokens - last.tokens)}
        if training.config.stream.packing != "best_fit":
            return facts
        packed = np.sum([source.packed.counts for source in training.stream.sources], axis=0)
        _, _, documents, cut = training.agreement.sums(*packed.tolist())
        room = training.tokens_before(progress.step) - training.tokens_before(last.step)
        padding = 1 - (progress.tokens - last.tokens) / room if room else 0.0
        return facts | {"padding_fraction": padding, "cut_fraction": cut / documents if documents else 0.0}
