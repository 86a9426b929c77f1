"""Training and serving see the same features (promise P4), through the real store, lake and answering code."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.arrays import AnyFloats, Ints
from crewflow_assets.cost_code_mapping.adaptation import Pairs, fit_adaptation
from crewflow_assets.cost_code_mapping.answering import answer
from crewflow_assets.cost_code_mapping.context import company_context
from crewflow_assets.cost_code_mapping.contract import MappingRequest
from crewflow_assets.cost_code_mapping.features import FEATURES
from crewflow_assets.cost_code_mapping.learned import Learned
from crewflow_assets.cost_code_mapping.lifecycle import CostCodeMapping
from crewflow_assets.cost_code_mapping.model import ALL_FEATURES, MappingPredictor, Ranking
from crewflow_assets.cost_code_mapping.pool import Pool
from crewflow_assets.cost_code_mapping.posted import record_imported
from crewflow_assets.ingest.files import import_rows
from crewflow_assets.ingest.jobs import ImportedMapping
from crewflow_assets.ingest.rows import AccountRow
from crewflow_assets.store.database import transaction
from tests.worlds import (
    ACCOUNTS,
    COST_CODES,
    PROJECTS,
    QUICKBOOKS,
    START,
    mapping_event,
    post,
    predictor,
    write_company,
    write_lake,
)

COMPANY = "c-1"
CODES = {row.code: row for row in COST_CODES}
JOBS = {row.code: row for row in PROJECTS}


@dataclass(frozen=True)
class Seen:
    """What the model was given for one request."""

    features: AnyFloats
    n_history: int


class Spy(MappingPredictor):
    """Answers as any predictor, and keeps what it was asked to rank."""

    seen: list[Seen] = []  # noqa: RUF012

    def rank_many(self, features: AnyFloats, n_history: Ints) -> list[Ranking]:
        Spy.seen += [Seen(row.T.copy(), int(n)) for row, n in zip(features, n_history, strict=True)]
        return MappingPredictor.rank_many(self, features, n_history)


@cache
def learned() -> Learned:
    """Return what other companies taught, about the very names of this one."""
    names = ("Rough Electrical Labor", "Rough Electrical Matl", "Trencher rental", "Job site office", "Mall")
    texts = tuple(f"{row.parent} {row.name}" if row.parent else row.name for row in ACCOUNTS)
    decisions = [(f"c-{i}", name, ACCOUNTS[i].name) for i, name in enumerate(names)]
    return Learned(
        fit_adaptation([Pairs(names, texts, np.arange(len(names)))], seed=1, epochs=3), Pool.of(decisions, least=1)
    )


def trained(hours: float = 100) -> pd.DataFrame:
    """Return the table's rows with the whole history of their moments, learned features and all."""
    table = CostCodeMapping().build_features(moment(hours))
    others = learned().of_table(table)
    table = table.assign(**{name: others[:, i] for i, name in enumerate(ALL_FEATURES[len(FEATURES) :])})
    return table[table["variant"] == "replay"].reset_index(drop=True)


def served(code: str) -> tuple[list[str], Seen]:
    """Return the candidates and the features that a request about an item meets now."""
    row: Any = CODES.get(code) or JOBS[code]
    plain = predictor(name_similarity=1.0)
    request = MappingRequest(
        kind="cost_code" if code in CODES else "project",
        crewflow_cost_code=code,
        cost_code_name=row.name,
        cost_code_description=row.description if code in CODES else None,
        crewflow_project_type=None if code in CODES else row.project_type,
        company_industry="electrical",
        company_id=COMPANY,
        target_system=QUICKBOOKS,
    )
    Spy.seen.clear()
    answer(Spy(plain.weights, plain.confidence_weights, None, 0.9, learned()), [request])
    chart = company_context(COMPANY, QUICKBOOKS).chart
    assert chart is not None
    [seen] = Spy.seen
    return [target.code for target in chart.targets], seen


def moment(hours: float) -> datetime:
    return START + timedelta(hours=hours, microseconds=17)


def decide(code: str, target: str | None, hours: float, **changes: Any) -> Callable[[], None]:
    def act() -> None:
        kind = "cost_code" if code in CODES else "project"
        with transaction() as session:
            post(session, mapping_event(COMPANY, code, target, moment(hours), kind=kind, **changes))

    return act


def import_chart(accounts: list[AccountRow], hours: float) -> Callable[[], None]:
    def act() -> None:
        with clock.fixed(moment(hours)), transaction() as session:
            import_rows(session, "accounts", COMPANY, QUICKBOOKS, accounts)

    return act


def import_mapping(code: str, target: str, hours: float) -> Callable[[], None]:
    def act() -> None:
        mapping = ImportedMapping(COMPANY, "cost_code", QUICKBOOKS, code, target)
        with clock.fixed(moment(hours)), transaction() as session:
            record_imported(session, [mapping])

    return act


def decide_together(hours: float, **targets: str) -> Callable[[], None]:
    def act() -> None:
        events = [
            mapping_event(COMPANY, code.replace("_", "-").replace("__", "."), target, moment(hours))
            for code, target in targets.items()
        ]
        with transaction() as session:
            post(session, *events)

    return act


NEW = AccountRow(code="50500", name="Trench Work", type="Cost of Goods Sold", parent=None)
HISTORY: list[tuple[list[str], Callable[[], None]]] = [
    (["16-100.L"], decide("16-100.L", "50100", 1)),
    (["16-100.M"], decide("16-100.M", "50300", 2)),
    (["P-1"], decide("P-1", "40100", 3)),
    ([], decide("16-100.M", "50200", 4, action="correct")),
    (["16-200.L"], decide("16-200.L", "50100", 5)),
    ([], decide("16-200.L", None, 6)),  # taken back
    ([], decide("01-500", "61000", 7, method="model", decided_by="model")),
    ([], import_chart([*ACCOUNTS, NEW], 8)),
    (["16-300.S"], decide("16-300.S", "50300", 9)),
    ([], decide("01-500", "50400", 10, action="correct")),
    ([], decide("01-500", "50500", 11, method="model", decided_by="model")),  # does not override the person
    ([], decide("16-200.L", "50100", 12)),  # decided again
    ([], import_chart([a for a in [*ACCOUNTS, NEW] if a.code != "50300"], 13)),  # an account that was used is closed
    (["01-510"], import_mapping("01-510", "50400", 14)),
    (["01-900", "P-2"], lambda: None),
    (["01-900"], decide("01-900", "61000", 15)),
    (["P-2"], decide("P-2", "40200", 16)),
    (["16-200.M"], decide("16-200.M", "50200", 17)),
]


def test_each_row_of_the_training_table_is_what_serving_saw_at_that_moment(sqlite_store: Engine) -> None:
    with transaction() as session:
        write_company(session, COMPANY)
    seen: dict[str, tuple[list[str], Seen]] = {}
    for asked, happens in HISTORY:
        for code in asked:
            seen[code] = served(code)
        happens()
    write_lake()
    examples = dict(iter(trained().groupby("source_code", sort=False)))
    # "16-300.S" went to an account that was closed later: the label was open at that moment, so it is an example
    assert set(examples) == set(seen)
    for code, (candidates, at_serving) in seen.items():
        rows = examples[code]
        assert rows["candidate"].tolist() == candidates, code
        assert rows["n_history"].unique().tolist() == [at_serving.n_history], code
        np.testing.assert_allclose(
            rows[list(ALL_FEATURES)].to_numpy(np.float64), at_serving.features, rtol=1e-5, atol=1e-6, err_msg=code
        )
    assert {at_serving.n_history for _, at_serving in seen.values()} >= {0, 3, 5}
    for place, name in enumerate(ALL_FEATURES):  # what is zero everywhere shows nothing
        assert name in ("code_match", "is_balance_sheet") or any(
            at.features[:, place].any() for _, at in seen.values()
        ), name


def test_items_decided_at_one_moment_see_the_same_history_in_training_as_in_serving(sqlite_store: Engine) -> None:
    with transaction() as session:
        write_company(session, COMPANY)
    decide("16-300.S", "50300", 1)()
    seen = {code: served(code) for code in ("01-500", "01-510", "01-900")}
    decide_together(2, **{"01_500": "50400", "01_510": "50400", "01_900": "61000"})()
    write_lake()
    table = trained()
    for code, (_, at_serving) in seen.items():
        rows = table[table["source_code"] == code]
        assert rows["n_history"].unique().tolist() == [1]
        np.testing.assert_allclose(
            rows[list(ALL_FEATURES)].to_numpy(np.float64), at_serving.features, rtol=1e-5, atol=1e-6
        )


def test_a_table_of_an_earlier_cutoff_is_the_beginning_of_a_later_one(sqlite_store: Engine) -> None:
    with transaction() as session:
        write_company(session, COMPANY)
    for _, happens in HISTORY:
        happens()
    write_lake()
    early, late = CostCodeMapping().build_features(moment(5)), CostCodeMapping().build_features(moment(100))
    assert early["source_code"].unique().tolist() == ["16-100.L", "16-100.M", "P-1"]  # strictly before 05:00
    kept = late[late["query"].isin(early["query"])].reset_index(drop=True)
    np.testing.assert_array_equal(kept[list(FEATURES)].to_numpy(), early[list(FEATURES)].to_numpy())


@pytest.mark.parametrize("hours", [0.5, 3, 20])
def test_the_same_history_gives_the_same_table_whenever_it_is_read(sqlite_store: Engine, hours: float) -> None:
    with transaction() as session:
        write_company(session, COMPANY)
    for _, happens in HISTORY:
        happens()
    write_lake()
    one, other = (CostCodeMapping().build_features(moment(hours)) for _ in range(2))
    assert one.equals(other)
    assert one.empty is (hours < 1)
