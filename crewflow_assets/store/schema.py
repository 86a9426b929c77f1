"""Bringing the database's schema up to date, and knowing whether it is (Alembic)."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from crewflow_assets.store import (  # noqa: F401  # so that the metadata has all tables
    conflict_tables,
    experiment_tables,
    monitoring_tables,
    retry_tables,
    sync_tables,
    training_tables,
)
from crewflow_assets.store.database import engine


def alembic_config() -> Config:
    """Return Alembic's configuration without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(target: Engine | None = None) -> tuple[str | None, str]:
    """Apply the missing migrations and return the revisions before and after."""
    config = alembic_config()
    with (target or engine()).begin() as connection:
        before = MigrationContext.configure(connection).get_current_revision()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before, head()


def head() -> str:
    """Return the newest revision that the code knows."""
    revision = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if revision is None:
        raise RuntimeError("no migration is packaged; reinstall crewflow-ml")
    return revision


def current(target: Engine | None = None) -> str | None:
    """Return the database's revision, or None for an empty database."""
    with (target or engine()).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
