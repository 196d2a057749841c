"""The endless, deterministic stream of token windows that a model is trained on.

Read in this order: lane.py (the chain of generators and its cursor), dataset.py (lanes to batches, state, prefetch),
shards.py, parquet.py and sources.py (where documents come from), encode.py, tokenized.py, validation.py, provenance.py (which
documents a window is made of).
"""

from codeparrot.stream.dataset import ConstantLengthDataset, LaneState, merge_states
from codeparrot.stream.encode import Encoder, make_encoder
from codeparrot.stream.validation import ValidationSet, load_validation_set

__all__ = [
    "ConstantLengthDataset",
    "Encoder",
    "LaneState",
    "ValidationSet",
    "load_validation_set",
    "make_encoder",
    "merge_states",
]
