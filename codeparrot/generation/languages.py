"""Where a completion in a language ends: before the next block at the top level, which begins with one of these texts."""

from codeparrot.errors import CodeparrotError, nearest

_STOPS: dict[str, tuple[str, ...]] = {
    "c": ("\n#", "\n//", "\n/*", "\ntypedef", "\nstruct", "\nenum", "\nunion", "\nstatic", "\nextern", "\nint", "\nvoid"),
    "cpp": ("\n#", "\n//", "\n/*", "\ntemplate", "\nclass", "\nstruct", "\nenum", "\nnamespace", "\nstatic", "\nint", "\nvoid"),
    "go": ("\nfunc", "\ntype", "\nvar", "\nconst", "\n//", "\n/*"),
    "java": ("\nimport", "\npublic", "\nclass", "\nabstract", "\nfinal", "\ninterface", "\nenum", "\n@", "\n//", "\n/*"),
    "javascript": (
        *("\nfunction", "\nasync", "\nclass", "\nconst", "\nlet", "\nvar", "\nexport", "\nimport", "\nmodule", "\nconsole"),
        *("\nif", "\n//", "\n/*"),
    ),
    "python": ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif"),
    "ruby": ("\nclass", "\nmodule", "\ndef", "\nrequire", "\nputs", "\nif", "\n#"),
    "rust": ("\nfn", "\npub", "\nimpl", "\nstruct", "\nenum", "\ntrait", "\nmod", "\nuse", "\n#", "\n//", "\n/*"),
    "typescript": (
        *("\nfunction", "\nasync", "\nclass", "\nconst", "\nlet", "\nvar", "\nexport", "\nimport", "\ninterface", "\ntype"),
        *("\nenum", "\ndeclare", "\nconsole", "\nif", "\n//", "\n/*"),
    ),
}
"""Python's are those of Codex (arXiv:2107.03374, section 3) and of CodeParrot's evaluations."""

LANGUAGES = tuple(_STOPS)


def stops_of(language: str) -> tuple[str, ...]:
    """Return the texts before which a completion in a language ends.

    Raises:
        CodeparrotError: the language is not one of LANGUAGES.
    """
    if language not in _STOPS:
        hint = nearest(language, LANGUAGES) or f"; one of {', '.join(LANGUAGES)}"
        raise CodeparrotError(f'the stop texts of "{language}" are not known{hint}; --stop block needs no language')
    return _STOPS[language]
