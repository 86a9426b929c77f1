"""Resources of the Dagster code location."""

import json
from typing import Any

import dagster as dg
from upath import UPath

from crewflow_assets.settings import get_settings


class JsonIOManager(dg.UPathIOManager):
    """Hands small JSON objects from asset to asset; tables and models travel as paths and versions in them."""

    extension = ".json"

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:  # noqa: ARG002
        """Write the object."""
        path.write_text(json.dumps(obj, indent=2))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:  # noqa: ARG002
        """Read the object."""
        return json.loads(path.read_text())


@dg.io_manager
def json_io(_context: dg.InitResourceContext) -> JsonIOManager:
    """Return the manager that keeps its objects under the home folder."""
    return JsonIOManager(base_path=UPath(get_settings().root / "assets"))
