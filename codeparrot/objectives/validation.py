"""The validation set as an objective makes examples of it: the same in each evaluation, on any number of processes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codeparrot.model import IGNORED
from codeparrot.objectives.objective import ChangesLengths, MakesFixedExamples
from codeparrot.stream.validation import ValidationSet


class ExampleSet(NamedTuple):
    """The windows of one process, as an objective with drawn examples measures them."""

    windows: ValidationSet
    objective: MakesFixedExamples
    end_of_document: int
    """What stands behind the last token of a short window: models that see both sides see it."""

    def num_batches(self, size: int) -> int:
        return self.windows.num_batches(size)

    def batch(self, index: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a batch's input ids and labels, as `ValidationSet.batch` does."""
        tokens, whole = self.windows.batch(index, size)
        length = tokens.shape[1]
        widths = self.objective.lengths(length) if isinstance(self.objective, ChangesLengths) else (length, length)
        input_ids, labels = (
            np.full((len(tokens), width), fill) for width, fill in zip(widths, (self.end_of_document, IGNORED), strict=True)
        )
        for row, window in enumerate(whole):
            if count := int(np.count_nonzero(window != IGNORED)):
                inputs, targets = self.objective.of_validation(window[:count])
                input_ids[row, : len(inputs)], labels[row, : len(targets)] = inputs, targets
        return input_ids, labels
