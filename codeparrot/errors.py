"""The one exception that the command line prints as a single line, and what of the system and of libraries becomes one.

Raise it where something enters from outside (configuration, files, network, user input), with a message that names the thing
and the remedy. Any other exception is a defect and shows its traceback, except those that `from_outside` knows: a full or
read-only disk, memory that does not suffice and a library that is not installed are nobody's defect, wherever they are met.
"""

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class CodeparrotError(Exception):
    """Bad input. The message is one line: what is wrong, where, and what to do about it."""


def nearest(word: str, choices: Iterable[str], closeness: float = 0.5) -> str:
    """Return `; did you mean "x"?` for the choice closest to `word`, or an empty string when none is close.

    `closeness` is a share of equal letters, as difflib counts them.
    """
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=closeness)
    return f'; did you mean "{close[0]}"?' if close else ""


_FULL = "make room there, or choose another place"
_DENIED = "choose a place that you may write to, or change its rights"
_IN_THE_WAY = "choose another place"
_BROKEN = "the disk or its server fails: try again, or choose another place"
_LESS = (
    "take less at once (train.micro_batch_size, which changes no result, --batch_size, --num_completions, --workers), shorter "
    "windows or a smaller model"
)
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or choose another place",
    errno.EROFS: _DENIED,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENAMETOOLONG: _IN_THE_WAY,
    errno.ELOOP: _IN_THE_WAY,
    errno.EIO: _BROKEN,
    errno.ESTALE: _BROKEN,
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the machine has too many open files: end other programs",
    errno.ENOMEM: _LESS,
}
"""What to do about errors of the system. Others, as a file that is not there, are defects unless somebody expects them."""
_OF_RUST = re.compile(r"\(os error (\d+)\)")
"""How tokenizers and safetensors, which raise exceptions of their own, spell an error of the system."""
_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
"""How torch, CUDA and NCCL, which raise RuntimeError, say that memory does not suffice."""
_ASKED_FOR = re.compile(r"allocate (\d[\d.]* ?\w+)")
_IN_PIECES = re.compile(r"(\d[\d.]* GiB) is reserved by PyTorch but unallocated")
"""How torch says that memory is free on a GPU, but in pieces that are too small. Less than a GiB would hardly help."""
_JOINED = "PYTORCH_ALLOC_CONF=expandable_segments:True"
_DISTRIBUTIONS = {"faiss": "faiss-cpu"}
"""What brings a module, where it is called otherwise."""
_COMPILERS = ("torch._dynamo", "torch._inductor")
"""Modules of the exceptions of torch.compile."""


def from_outside(error: BaseException) -> CodeparrotError | None:
    """Return the one line for an error of the system, of torch.compile, lack of memory or of a library; None for a defect."""
    if isinstance(error, ModuleNotFoundError):
        return _not_installed(str(error.name).partition(".")[0])
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        asked, pieces = (pattern.search(str(error)) for pattern in (_ASKED_FOR, _IN_PIECES))
        joined = f"{pieces[1]} are free in pieces: {_JOINED} joins them; or " if pieces else ""
        return CodeparrotError(f"there is not enough memory{f' for {asked[1]}' if asked else ''}; {joined}{_LESS}")
    if type(error).__module__.startswith(_COMPILERS):
        why = next(iter(str(error).splitlines()), "")
        remedy = "install what it needs (on a CPU a C++ compiler: apt install g++), or set train.compile false"
        return CodeparrotError(f"torch.compile fails here ({why}); {remedy}")
    number, file = _number(error), getattr(error, "filename", None)
    if number not in _REMEDIES:
        return None
    return CodeparrotError(f"{f'{file}: ' if file else ''}{os.strerror(number)}; {_REMEDIES[number]}")


@contextmanager
def writing(place: Path, setting: str) -> Iterator[None]:
    """Name what was being written where a full or read-only disk ends the block.

    Args:
        place: file or folder that is written in the block, or something beside it.
        setting: the setting or flag that names the place.

    Raises:
        CodeparrotError: instead of the error of the system.
    """
    try:
        yield
    except Exception as error:
        number, file = _number(error), getattr(error, "filename", None)
        path = Path(os.fsdecode(file)).absolute() if file is not None else None
        elsewhere = path is not None and not path.is_relative_to(place.absolute().parent)
        # Below /proc, for instance, a folder that cannot be made is called missing.
        not_made = number == errno.ENOENT and path in (place.absolute(), *place.absolute().parents)
        remedy = _IN_THE_WAY if not_made else _REMEDIES.get(number or 0)
        if number is None or remedy is None or elsewhere:
            raise
        raise CodeparrotError(f"cannot write {place}: {os.strerror(number)}; {remedy} ({setting})") from error


def _number(error: BaseException) -> int | None:
    """Return the number of an error of the system."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, OSError) and ("requested and" in str(error) or "Not enough free space" in str(error)):
        return errno.ENOSPC  # numpy says how many bytes were not written or do not fit, and keeps the number to itself
    found = _OF_RUST.search(str(error))
    return int(found[1]) if found else None


def _not_installed(module: str) -> CodeparrotError | None:
    """Return the one line for a library that the package declares; None for a module that no library brings."""
    install = how_to_install(module)
    return CodeparrotError(f"this needs {module}, which is not installed: {install}") if install else None


def how_to_install(module: str) -> str | None:
    """Return the command that installs a library which the package or one of its extras declares, or None."""
    from importlib import metadata

    try:
        declared = metadata.requires("codeparrot") or []
    except metadata.PackageNotFoundError:
        return None
    wanted = _plain(_DISTRIBUTIONS.get(module, module))
    for line in declared:
        name, extra = re.match(r"[\w.\-]+", line), re.search(r"extra == ['\"]([\w\-]+)", line)
        # The package names itself where an extra includes another.
        if name and module != "codeparrot" and _plain(name[0]) == wanted:
            return f"pip install 'codeparrot[{extra[1]}]'" if extra else "pip install codeparrot"
    return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
