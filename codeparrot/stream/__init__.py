"""The endless, deterministic stream of token windows that a model is trained on.

Read in this order: lane.py (the chain of generators and its cursor), shuffle.py (in which order windows are handed out),
best_fit.py (windows of whole documents),
mixture.py (from which source each comes), opened.py (a source alone), dataset.py (lanes to windows and batches), position.py
(the state), prefetch.py, readers/ (which files are data, and reading them), shards.py,
parquet.py and sources.py (parts of the data that can be entered at any block), losses.py (what becomes of damaged data),
encode.py, tokenized.py, validation.py, provenance.py (which documents a window is made of), whole.py (a data set in its own
order, a DataLoader's workers).

The names below are loaded on first use, so the corpus and the tokenizer's commands, which need only the readers, start without
numpy and `tokenizers`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codeparrot.stream.dataset import ConstantLengthDataset
    from codeparrot.stream.encode import Encoder, make_encoder
    from codeparrot.stream.position import merge_states
    from codeparrot.stream.shuffle import LaneState
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
_MODULES = {
    "dataset": ("ConstantLengthDataset",),
    "encode": ("Encoder", "make_encoder"),
    "position": ("merge_states",),
    "shuffle": ("LaneState",),
    "validation": ("ValidationSet", "load_validation_set"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
