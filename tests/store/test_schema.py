"""The migrations build exactly the tables that the code declares, and can be undone."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from crewflow_assets.store import schema
from crewflow_assets.store.tables import Base


def differences(target: Engine) -> list[object]:
    with target.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))


def test_the_migrations_equal_the_metadata(store: Engine) -> None:
    assert schema.current() == schema.head()
    assert differences(store) == []


def test_an_up_to_date_database_is_left_alone(store: Engine) -> None:
    assert schema.upgrade() == (schema.head(), schema.head())


def test_the_migrations_can_be_undone_and_redone(store: Engine) -> None:
    config = schema.alembic_config()
    with store.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(store).get_table_names() == ["alembic_version"]
    assert schema.current() is None
    assert schema.upgrade() == (None, schema.head())
    assert differences(store) == []
