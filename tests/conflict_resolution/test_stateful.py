"""Any sequence of reports, decisions, undos, edits, deliveries and refusals ends where the audit log says."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.conflict_resolution import actions, posted
from crewflow_assets.conflict_resolution.actions import Proposal
from crewflow_assets.conflict_resolution.journal import COMMAND
from crewflow_assets.conflict_resolution.standing import holds, inputs_of, snapshot
from crewflow_assets.errors import ConflictError
from crewflow_assets.ingest.event_kinds import EventIn
from crewflow_assets.ingest.events import record_events
from crewflow_assets.store.conflict_tables import Conflict, ConflictResolution
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import AuditEntry, OutboxCommand
from tests.conflict_resolution.deciding import NOON, add_companies, switch, told

HOURS = st.sampled_from([4.0, 6.0, 7.5, 8.0, 9.25])
NAMES = st.sampled_from(["x-1", "x-2"])
SIDES = st.sampled_from(["crewflow", "external"])
numbers = count(1)


@dataclass
class Record:
    """A record as one side truly holds it: it refuses what was decided on another version."""

    value: float
    version: str = "1"
    made_by: str | None = None

    def take(self, command: OutboxCommand) -> bool:
        expected, follows = command.payload["expected_version"], command.payload["follows"]
        if self.version != expected and (self.made_by is None or self.made_by != follows):
            return False
        self.value, self.made_by = command.payload["value"], command.idempotency_key
        self.version = f"v{next(numbers)}"
        return True


@dataclass
class World:
    """Both sides' records, and edits that the platform has not heard of yet."""

    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    unheard: list[EventIn] = field(default_factory=list)


class Conflicts(RuleBasedStateMachine):
    """Two conflicts of a company of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.company = f"c-s{next(numbers)}"
        self.minutes = 0
        self.world = World()
        add_companies(self.company)
        switch(company=self.company, daily_cap=10**6)

    @contextmanager
    def step(self) -> Iterator[Session]:
        self.minutes += 1
        with clock.fixed(NOON + timedelta(minutes=self.minutes)):
            try:
                with transaction() as session:
                    yield session
            except ConflictError:
                pass  # refused: nothing was changed, which the invariants check

    def conflicts(self) -> list[tuple[Conflict, ConflictResolution | None]]:
        with reading() as session:
            rows = session.execute(
                select(Conflict, ConflictResolution)
                .outerjoin(ConflictResolution, ConflictResolution.id == Conflict.decision_id)
                .where(Conflict.company_id == self.company)
            ).all()
            return [(conflict, standing) for conflict, standing in rows]

    @rule(name=NAMES, ours=HOURS, theirs=HOURS)
    def report(self, name: str, ours: float, theirs: float) -> None:
        if ("crewflow", name) not in self.world.records:
            if ours == theirs:
                return
            self.world.records["crewflow", name] = Record(ours)
            self.world.records["external", name] = Record(theirs)
        mine, other = self.world.records["crewflow", name], self.world.records["external", name]
        if mine.value == other.value or self.pending(name):
            return
        with self.step() as session:
            actions.record(
                session,
                company_id=self.company,
                decided_by="backend",
                conflict=told(
                    name,
                    values={"crewflow": mine.value, "external": other.value},
                    crewflow_version=mine.version,
                    external_version=other.version,
                ),
            )

    def pending(self, name: str = "") -> list[OutboxCommand]:
        with reading() as session:
            waiting = (
                OutboxCommand.company_id == self.company,
                OutboxCommand.command == COMMAND,
                OutboxCommand.state == "pending",
            )
            found = session.scalars(select(OutboxCommand).where(*waiting).order_by(OutboxCommand.id)).all()
        return [command for command in found if command.payload["conflict_id"].startswith(name)]

    @precondition(lambda self: self.world.records)
    @rule(place=st.integers(0, 1), action=st.sampled_from(["use_crewflow", "use_external", "manual"]))
    def resolve(self, place: int, action: Any) -> None:
        for conflict, _ in self.conflicts()[place : place + 1]:
            proposal = Proposal(inputs_of(conflict), action, 0.97, auto_resolve=True, reason="", model_version="1")
            with self.step() as session:
                actions.decide_automatically(
                    session, company_id=self.company, conflict_id=conflict.conflict_id, proposal=proposal
                )

    @precondition(lambda self: self.world.records)
    @rule(place=st.integers(0, 1), action=st.sampled_from(["use_crewflow", "use_external", "manual"]), hours=HOURS)
    def override(self, place: int, action: Any, hours: float) -> None:
        for conflict, _ in self.conflicts()[place : place + 1]:
            with self.step() as session:
                actions.decide(
                    session,
                    company_id=self.company,
                    conflict_id=conflict.conflict_id,
                    resolution=action,
                    value=hours if action == "manual" else None,
                    decided_by="dana",
                )

    @precondition(lambda self: self.world.records)
    @rule(place=st.integers(0, 1))
    def undo(self, place: int) -> None:
        for conflict, _ in self.conflicts()[place : place + 1]:
            with self.step() as session:
                actions.undo(session, company_id=self.company, conflict_id=conflict.conflict_id, decided_by="sam")

    @precondition(lambda self: self.world.records)
    @rule(name=NAMES, side=SIDES, hours=HOURS)
    def edit(self, name: str, side: str, hours: float) -> None:
        record = self.world.records.get((side, name))
        if record is None:
            return
        self.minutes += 1
        record.value, record.version, record.made_by = hours, f"v{next(numbers)}", None
        self.world.unheard.append(
            EventIn(
                event_id=f"e-{next(numbers)}",
                kind="record_version",
                company_id=self.company,
                occurred_at=NOON + timedelta(minutes=self.minutes),
                payload={
                    "record_type": "timecard",
                    "record_id": f"t-{name}",
                    "side": side,
                    "version": record.version,
                    "values": {"hours": hours},
                },
            )
        )

    @precondition(lambda self: self.world.unheard)
    @rule()
    def hear(self) -> None:
        heard, self.world.unheard = self.world.unheard, []
        with self.step() as session:
            record_events(session, heard, handlers=posted.EVENT_HANDLERS)

    @precondition(lambda self: self.pending())
    @rule(refuse=st.booleans())
    def deliver(self, *, refuse: bool) -> None:
        command = self.pending()[0]
        record = self.world.records[command.payload["side"], command.payload["conflict_id"]]
        taken = not refuse and record.take(command)
        with self.step() as session:
            row = session.get_one(OutboxCommand, command.id)
            row.state = "delivered" if taken else "refused"
            if not taken:
                posted.reopen_refused(session, row, "no")

    @invariant()
    def the_audit_log_replays_to_the_state(self) -> None:
        with reading() as session:
            of_company = (AuditEntry.company_id == self.company, AuditEntry.subject_type == "conflict")
            entries = session.scalars(select(AuditEntry).where(*of_company).order_by(AuditEntry.id)).all()
        replayed: dict[str, Any] = {}
        for entry in entries:
            assert entry.before == replayed.get(entry.subject_id), entry.action
            assert entry.after is not None
            replayed[entry.subject_id] = {
                name: value for name, value in entry.after.items() if name not in ("inputs", "about", "proposed")
            }
        assert replayed == {c.conflict_id: snapshot(c, standing) for c, standing in self.conflicts()}

    def story(self, name: str) -> str:
        with reading() as session:
            rows = session.execute(
                select(OutboxCommand.state, OutboxCommand.payload).where(OutboxCommand.company_id == self.company)
            ).all()
        return "\n".join(f"{state} {told}" for state, told in rows if told.get("conflict_id") == name)

    def teardown(self) -> None:
        """Once everything is delivered and heard, both sides hold what the platform believes."""
        while self.pending() or self.world.unheard:
            if self.world.unheard:
                self.hear()
            while self.pending():
                self.deliver(refuse=False)
        for conflict, standing in self.conflicts():
            if conflict.edited_at is None:
                believed = holds(conflict, standing)
                true = {
                    side: self.world.records[side, conflict.conflict_id].value for side in ("crewflow", "external")
                }
                assert true == believed, (conflict.conflict_id, conflict.state, self.story(conflict.conflict_id))
        self.the_audit_log_replays_to_the_state()


def test_every_sequence_ends_where_the_audit_log_says(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "after_review", lambda *_: None)  # the stop switch would end the automatic part
    monkeypatch.setattr(actions, "uniform", lambda *key: 0.0 if key[-1] == "x-2" else 1.0)  # x-2 goes blind
    run_state_machine_as_test(
        Conflicts,
        settings=settings(max_examples=25, stateful_step_count=20, suppress_health_check=list(HealthCheck)),
    )
