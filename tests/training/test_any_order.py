"""Whatever happens in whatever order, a cause is trained for once, and not lost while attempts are left."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import engine_for, reading, transaction
from crewflow_assets.store.training_tables import TrainingClaim
from crewflow_assets.training import claims
from crewflow_assets.training.claims import Cause, ClaimState, RunState

CAUSE = Cause("m", "corrections", "w")
ACTIONS = ("tick", "ask twice", "look", "begin", "die", "wake", "fail", "wait", "finish")


class World:
    """Dagster as the claims see it: runs that were asked for, begun, killed or ended."""

    def __init__(self) -> None:
        self.now = datetime(2026, 2, 1, tzinfo=UTC)
        self.runs: dict[str, tuple[int, RunState]] = {}
        self.begun: list[str] = []
        self.dead: list[str] = []
        self.trained: list[str] = []

    def do(self, action: str) -> None:
        with clock.fixed(self.now):
            getattr(self, action.replace(" ", "_"))()

    def ask(self, attempt: int) -> None:
        self.runs[f"run-{len(self.runs)}"] = (attempt, RunState.ALIVE)

    def tick(self) -> None:
        with transaction() as session:
            if claims.request(session, CAUSE, why="25 corrections"):
                self.ask(1)

    def tick_that_dies(self) -> None:
        with transaction() as session:
            claims.request(session, CAUSE, why="25 corrections")

    def ask_twice(self) -> None:
        """Let a second daemon ask for the newest run too, under the same key."""
        for attempt, _ in list(self.runs.values())[-1:]:
            self.ask(attempt)

    def look(self) -> None:
        with transaction() as session:
            for claim in claims.open_claims(session):
                step = claims.next_step(claim, self.now, self.state(claim))
                if step.action == "give back":
                    claims.give_back(session, claim, step.said)
                elif step.action == "run":
                    self.ask(claim.attempts + 1)

    def state(self, claim: TrainingClaim) -> RunState:
        if claim.state == ClaimState.RUNNING:
            return self.runs[claim.run_id or ""][1]
        found = [state for attempt, state in self.runs.values() if attempt == claim.attempts + 1]
        return found[-1] if found else RunState.UNKNOWN

    def begin(self) -> None:
        waiting = [
            name for name, (_, state) in self.runs.items() if state is RunState.ALIVE and name not in self.begun
        ]
        for name in waiting[:1]:
            self.begun.append(name)
            if claims.take(CAUSE, name, why="") is None:
                self.end(name, RunState.SUCCEEDED)

    def working(self) -> list[str]:
        running = [name for name in self.begun if name not in self.dead]
        return [name for name in running if self.runs[name][1] is RunState.ALIVE]

    def end(self, name: str, state: RunState) -> None:
        self.runs[name] = (self.runs[name][0], state)

    def die(self) -> None:
        self.dead += self.working()[-1:]

    def wake(self) -> None:
        self.dead = self.dead[:-1]  # it was only very slow

    def fail(self) -> None:
        for name in self.working()[-1:]:
            self.end(name, RunState.FAILED)

    def finish(self) -> None:
        for name in self.working()[:1]:
            try:
                claims.finish(CAUSE, name, version="1.1", data_until=self.now)
            except ConflictError:
                self.end(name, RunState.FAILED)
            else:
                self.trained.append(name)
                self.end(name, RunState.SUCCEEDED)

    def wait(self) -> None:
        """Let time pass, in which those who work show that they live."""
        for _ in range(3):
            self.now += timedelta(minutes=2)
            with clock.fixed(self.now), reading() as session:
                claim = session.get_one(TrainingClaim, ("m", "corrections", "w"))
            if claim.state == ClaimState.RUNNING and claim.run_id in self.working():
                with clock.fixed(self.now), claims.working(CAUSE, claim.run_id):
                    pass


@pytest.fixture
def template(sqlite_template: Path, sqlite_store: Engine) -> Path:
    return sqlite_template


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.sampled_from(["tick", "tick that dies"]), actions=st.lists(st.sampled_from(ACTIONS), max_size=20))
def test_a_cause_is_trained_for_once_in_any_order(template: Path, home: Path, first: str, actions: list[str]) -> None:
    file = home / f"{uuid4().hex}.db"
    shutil.copy(template, file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREWFLOW_DATABASE_URL", f"sqlite:///{file}")
        get_settings.cache_clear()
        world = World()
        for action in [first, *actions, *(["wait", "look", "begin", "finish"] * 40)]:
            world.do(action)
            assert len(world.trained) <= 1
        with reading() as session:
            claim = session.get_one(TrainingClaim, ("m", "corrections", "w"))
            failures = actions.count("fail") + actions.count("die")
            assert (claim.state == ClaimState.DONE) == (len(world.trained) == 1)
            assert claim.state in (ClaimState.DONE, ClaimState.GIVEN_UP)
            assert claim.state == ClaimState.DONE or failures >= 1
            again = actions.count("ask twice")  # a run that was asked for twice may take what was given up
            assert claim.attempts <= 3 + again
        engine_for(f"sqlite:///{file}").dispose()
    get_settings.cache_clear()
    file.unlink()
