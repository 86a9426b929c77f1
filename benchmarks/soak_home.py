"""What the soak runs on: a home of its own with two versions of every model, and a copy of the data on PostgreSQL."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zlib import crc32

from sqlalchemy import Engine, insert, inspect, select, text

from benchmarks.postgres import PostgresServer
from crewflow_assets import registration, registry
from crewflow_assets.errors import NotReadyError, OutdatedModelError
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import ModelSpec, Predictor
from crewflow_assets.store import schema
from crewflow_assets.store.database import READ_ONLY, engine_for
from crewflow_assets.store.tables import Base

if TYPE_CHECKING:
    import pandas as pd

DATABASE = "soak"
ROWS_AT_ONCE = 5000
SEED = 2


@dataclass(frozen=True, slots=True)
class Version:
    """A version that the soak serves, with the predictor that its answers are compared with."""

    spec: ModelSpec
    label: str
    predictor: Predictor


@contextmanager
def settings_of(home: Path, database_url: str = "") -> Iterator[None]:
    """Use another installation within the block."""
    wanted = {"CREWFLOW_HOME": str(home), "CREWFLOW_DATABASE_URL": database_url}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    get_settings.cache_clear()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        get_settings.cache_clear()


def two_versions(source: Path) -> list[tuple[ModelSpec, Predictor, Predictor]]:
    """Return, of each model that an installation has, the champion and one fitted on half of the companies.

    A champion that the present code no longer reads is fitted anew.

    Raises:
        NotReadyError: the installation has no model at all.
    """
    import pandas as pd

    found = []
    with settings_of(source):
        for spec in MODEL_SPECS:
            tables = (source / "features" / spec.name).glob("*.parquet")
            try:
                registry.find(spec, registry.CHAMPION)
            except NotReadyError:
                continue
            table = pd.read_parquet(max(tables, key=_written_at))
            try:
                champion = registry.load(spec, registry.CHAMPION).predictor
            except OutdatedModelError:
                champion = spec.code().fit(table, seed=get_settings().seed)
            found.append((spec, champion, spec.code().fit(_half(table), seed=SEED)))
    if not found:
        raise NotReadyError(f"{source} has no model; fill it with: CREWFLOW_HOME={source} crewflow demo")
    return found


def _written_at(file: Path) -> float:
    return file.stat().st_mtime


def _half(features: "pd.DataFrame") -> "pd.DataFrame":
    halves = features["company_id"].map(lambda company: crc32(str(company).encode()) % 2)
    return features[halves == 0].reset_index(drop=True)


def register(models: Sequence[tuple[ModelSpec, Predictor, Predictor]]) -> list[Version]:
    """Register both versions of each model in the present home; the first is champion."""
    from crewflow_assets import clock

    versions = []
    for spec, *predictors in models:
        for number, predictor in enumerate(predictors, 1):
            record = registration.TrainingRecord(
                role="candidate",
                seed=number,
                data_until=clock.now(),
                feature_hash=f"soak-{number}",
                code_hash="soak",
            )
            with TemporaryDirectory() as folder:
                predictor.save(Path(folder))
                info = registration.register(spec, Path(folder), record)
            if number == 1:
                registry.promote(info, registry.CHAMPION)
            loaded = registry.load(spec, info.label)  # as a server reads it back
            versions.append(Version(spec, info.label, loaded.predictor))
    return versions


def copied_database(source: Path, server: PostgresServer) -> str:
    """Copy an installation's SQLite database into a new one of the server and return its URL."""
    server.execute(f"CREATE DATABASE {DATABASE}")
    url = server.url(DATABASE)
    target = engine_for(url)
    schema.upgrade(target)
    with settings_of(source):
        origin = engine_for(get_settings().sqlalchemy_url)
        _copy(origin, target)
        origin.dispose()
    return url


def _copy(origin: Engine, target: Engine) -> None:
    """Copy what both have; the origin may be of an earlier revision."""
    known = inspect(origin)
    names = set(known.get_table_names())
    with origin.connect().execution_options(**{READ_ONLY: True}) as reader, target.begin() as writer:
        for table in Base.metadata.sorted_tables:
            if table.name not in names:
                continue
            there = {column["name"] for column in known.get_columns(table.name)}
            columns = [column for column in table.columns if column.name in there]
            for rows in reader.execute(select(*columns)).mappings().partitions(ROWS_AT_ONCE):
                writer.execute(insert(table), [dict(row) for row in rows])
            key = table.autoincrement_column
            if key is not None:
                sequence = f"pg_get_serial_sequence('{table.name}', '{key.name}')"
                writer.execute(text(f"SELECT setval({sequence}, max({key.name})) FROM {table.name}"))
