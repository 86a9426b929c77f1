"""A registry that is a file of the home folder, for gateways of processes of their own."""

import json
from pathlib import Path

from crewflow_assets.settings import get_settings
from tests.serving.fakes import FakeSource

LABELS = {1: "1.0", 2: "1.1"}


def promote(number: int) -> None:
    """Make a version champion, for every process of the home folder in force."""
    path = _file()
    path.with_suffix(".new").write_text(json.dumps({"champion": number}))
    path.with_suffix(".new").replace(path)


def _file() -> Path:
    return get_settings().root / "aliases.json"


class FiledSource(FakeSource):
    """Looks into the file each time it is asked."""

    def _check(self) -> None:
        self.labels = LABELS
        self.aliases = json.loads(_file().read_text())
