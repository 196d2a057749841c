"""What a file says of where it comes from: the fields of a model card that GGUF has. What is not known is left out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot import __version__
from codeparrot.location import HUB, is_hub_name, path_of, split_hub_name
from codeparrot.run.checkpoint import MANIFEST, read_manifest
from codeparrot.stream.entries import places_of
from codeparrot.stream.readers.hub import parse

if TYPE_CHECKING:
    from gguf import GGUFWriter

HUB_URL = "https://huggingface.co"


@dataclass(frozen=True)
class Origin:
    """Where a model comes from."""

    name: str
    license: str = ""
    """SPDX name."""
    description: str = ""
    repository: str = ""
    """owner/name on the Hub."""
    datasets: tuple[str, ...] = ()
    """owner/name of data sets on the Hub."""

    def facts(self) -> dict[str, Any]:
        return {"name": self.name, "license": self.license, "url": self._url(), "datasets": list(self.datasets)}

    def _url(self) -> str:
        return f"{HUB_URL}/{self.repository}" if self.repository else ""

    def write(self, writer: "GGUFWriter") -> None:
        """Write the fields; gguf leaves out an empty one."""
        writer.add_type("model")
        writer.add_name(self.name)
        writer.add_description(self.description)
        writer.add_license(self.license)
        writer.add_url(self._url())
        writer.add_tags(["codeparrot", "text-generation"])
        if self.datasets:
            writer.add_dataset_count(len(self.datasets))
        for number, name in enumerate(self.datasets):
            organization, _, short = name.rpartition("/")
            writer.add_dataset_name(number, short)
            writer.add_dataset_organization(number, organization)
            writer.add_dataset_repo_url(number, f"{HUB_URL}/datasets/{name}")


def origin_of(checkpoint: str, folder: str, license: str) -> Origin:
    """Return what is known of a model.

    Args:
        checkpoint: the name that the user gave it.
        folder: what `find_model` made of it.
        license: SPDX name; empty: it is not said.
    """
    run = Path(folder).parent
    if Path(folder).name == "model" and (run / MANIFEST).is_file():
        return _of_run(read_manifest(run), license)
    if not path_of(checkpoint).exists() and is_hub_name(checkpoint):
        repository = split_hub_name(checkpoint)[0]
        return Origin(repository.split("/")[-1], license, repository=repository)
    return Origin(path_of(checkpoint).resolve().name, license)


def _of_run(manifest: dict[str, Any], license: str) -> Origin:
    """Return what a checkpoint says of its run."""
    config, tokens = manifest["config"], manifest.get("tokens", 0)
    trained = f"Step {manifest['step']:,} of a run of {config['train']['max_steps']:,}, {tokens:,} tokens seen"
    # Without the prefix, a name may be that of a folder on the machine of the run.
    sources = [parse(name).path for name in places_of(config["stream"]["train"]) if name.startswith(HUB)]
    return Origin(
        config["run"]["name"],
        license,
        f"A language model for code. {trained}. Pretrained by codeparrot {__version__}.",
        config.get("hub", {}).get("repo", ""),
        tuple(sources),
    )
