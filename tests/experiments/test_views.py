"""A list of experiments shows each with its last look, and reads no other."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, event

from crewflow_assets import clock
from crewflow_assets.experiments import ledger
from crewflow_assets.experiments.looks import look
from crewflow_assets.experiments.views import view, views
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.experiment_tables import ExperimentLook
from tests.experiments.trial import BEGAN, DAY, start


@pytest.fixture
def loaded() -> Iterator[list[ExperimentLook]]:
    """The looks that were read from the database."""
    found: list[ExperimentLook] = []

    def note(target: ExperimentLook, _context: object) -> None:
        found.append(target)

    event.listen(ExperimentLook, "load", note)
    yield found
    event.remove(ExperimentLook, "load", note)


def test_of_each_experiment_the_last_look_alone_is_read(store: Engine, loaded: list[ExperimentLook]) -> None:
    for number, name in enumerate(("first", "second")):
        start(BEGAN + number * 4 * DAY, name=name)
        for day in (1, 3, 2):
            with clock.fixed(BEGAN + (number * 4 + day) * DAY):
                look(name)
        with transaction() as session:
            ledger.stop(session, name, by="dana", why="enough")
    start(BEGAN + 8 * DAY, name="third")
    loaded.clear()
    with reading() as session:
        found = {one["name"]: one for one in views(session, ledger.every(session))}
        assert len(loaded) == 2
        assert found == {name: view(session, ledger.find(session, name)) for name in found}
    assert found["first"]["looked_at"] == (BEGAN + 3 * DAY).isoformat()
    assert found["third"]["looked_at"] is None
    with reading() as session:
        assert views(session, []) == []
