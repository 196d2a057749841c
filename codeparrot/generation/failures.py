"""What can go wrong with one request while the others go on."""

from codeparrot.errors import CodeparrotError, from_outside


class NotFinite(CodeparrotError):
    """The model gives no probabilities to draw from."""

    def __init__(self) -> None:
        super().__init__("the model's probabilities are not finite: it has diverged or is damaged; take an earlier checkpoint")


class NoMemory(CodeparrotError):
    """Memory does not suffice for a prompt, or for one more token of all that run."""


class NothingLeft(CodeparrotError):
    """The request's own conditions leave no token to draw."""

    def __init__(self) -> None:
        super().__init__("no token is left to draw: the request's biases exclude all of them; weaken them")


def no_memory(error: BaseException) -> NoMemory | None:
    """Return the one line for an error that means lack of memory, else None.

    The line does not hold on to the error, whose traceback would keep the tensors alive that take the memory.
    """
    known = from_outside(error) if isinstance(error, MemoryError | RuntimeError) else None
    return NoMemory(str(known)) if known and "memory" in str(known) else None
