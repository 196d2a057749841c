"""Which folders are packages: pyproject.toml can list them, but not find the rooms that live beside the package.

Those lie at the top of the tree, where a reader finds them, and are imported as `codeparrot.*`.
"""

from setuptools import find_packages, setup

FOLDERS = {
    "codeparrot": "codeparrot",
    "codeparrot.configs": "configs",
    "codeparrot.eval": "eval",
    "codeparrot.launch": "launch",
    "codeparrot.tokenizer": "tokenizer",
}


def packages() -> list[str]:
    """Return every folder with an `__init__.py`, by its import name."""
    inner = [f"{name}.{found}" for name, folder in FOLDERS.items() for found in find_packages(folder)]
    return [*FOLDERS, *inner]


setup(packages=packages(), package_dir=FOLDERS)
