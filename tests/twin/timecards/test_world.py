"""The simulated world of timecards: it repeats, differs, holds its own rules, and comes in through the same doors."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

from sqlalchemy import Engine, func, select

from crewflow_assets import clock
from crewflow_assets.handlers import EVENT_HANDLERS
from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.store.conflict_tables import Conflict
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import OutboxCommand
from crewflow_assets.twin.timecards.crews import Employer
from crewflow_assets.twin.timecards.filling import write_timecards
from crewflow_assets.twin.timecards.parameters import DEFAULTS
from crewflow_assets.twin.timecards.world import TimecardHistory, build_timecards
from tests.conflict_resolution.deciding import add_companies

END = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@cache
def histories(seed: int = 7, companies: int = 12, days: int = 60) -> tuple[TimecardHistory, ...]:
    since = END.date() - timedelta(days=days)
    employers = [Employer(f"c-{number}", "quickbooks", 8, since) for number in range(1, companies + 1)]
    return tuple(build_timecards(employers, seed=seed, end=END))


def test_a_world_repeats_by_its_seed_and_differs_by_it() -> None:
    [one] = build_timecards([histories()[2].employer], seed=7, end=END)
    assert one.happenings == histories()[2].happenings
    assert one.hidden == histories()[2].hidden
    assert histories(seed=8, companies=1)[0].happenings != histories()[0].happenings


def test_what_happened_earlier_does_not_depend_on_the_end() -> None:
    earlier = END - timedelta(days=7)
    [short] = build_timecards([histories()[0].employer], seed=7, end=earlier)
    if short.rules.turned is None:
        assert list(short.happenings) == [h for h in histories()[0].happenings if h.at < earlier]


def test_events_are_valid_and_in_order() -> None:
    for history in histories():
        moments = [happening.at for happening in history.happenings]
        assert moments == sorted(moments)
        assert not moments or moments[-1] < END
        for happening in history.happenings:
            PAYLOADS[happening.kind].model_validate(happening.payload)


def test_every_mechanism_happens_and_no_side_is_always_right() -> None:
    right: dict[str, Counter[str]] = defaultdict(Counter)
    for history in histories():
        for hidden in history.hidden:
            right[hidden.mechanism][hidden.right] += 1
    assert len(right) == 8
    everything = sum((counts for counts in right.values()), Counter[str]())
    assert all(everything[choice] / everything.total() < 0.85 for choice in everything)
    assert set(everything) == {"use_crewflow", "use_external", "manual"}


def test_people_are_mostly_right_and_err_as_the_parameters_say() -> None:
    decided = [h for history in histories() for h in history.hidden if h.decided is not None]
    agree = sum(h.right == h.decided for h in decided) / len(decided)
    assert 0.9 < agree < 0.985
    undecided = sum(h.decided is None for history in histories() for h in history.hidden)
    assert 0 < undecided / (undecided + len(decided)) < 0.1


def test_a_rule_that_is_turned_round_changes_what_is_right() -> None:
    turning = replace(DEFAULTS, changes_rule=1.0, clocked_share=1.0, rounding_share=1.0)
    employers = [history.employer for history in histories()[:6]]
    built = build_timecards(employers, seed=7, end=END, parameters=turning)
    turned = [history for history in built if history.rules.turned == "rounded_stands"]
    found: dict[bool, set[str]] = defaultdict(set)
    for history in turned:
        for hidden in history.hidden:
            if hidden.mechanism == "rounding":
                after = date.fromisoformat(day_of(hidden.conflict_id)) >= history.rules.turned_on
                found[after ^ history.rules.stands["rounded_stands"]].add(hidden.right)
    assert found[True] == {"use_external"}
    assert found[False] == {"use_crewflow"}


def day_of(conflict_id: str) -> str:
    digits = conflict_id.split("-")[-2]
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"


def test_it_comes_in_through_the_same_doors(sqlite_store: Engine) -> None:
    employers = [history.employer for history in histories(companies=2, days=30)]
    add_companies(*(employer.company_id for employer in employers))
    with clock.fixed(END):
        count = write_timecards(employers, seed=7, end=END, handlers=EVENT_HANDLERS)
    hidden = {h.conflict_id: h for history in histories(companies=2, days=30) for h in history.hidden}
    assert count == len(hidden)
    with reading() as session:
        states = dict(session.execute(select(Conflict.conflict_id, Conflict.state)).all())
        assert session.scalar(select(func.count()).select_from(OutboxCommand)) == 0
    assert states.keys() == hidden.keys()
    resolved = [name for name, state in states.items() if state == "resolved"]
    assert all(hidden[name].decided is not None for name in resolved)
    assert len(resolved) > 0.7 * len(hidden)
