"""Unseen simulated companies, asked with more and more of their list labelled: what the twin benchmark counts."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from benchmarks.mapping_world import TEST_SEED, records_of
from crewflow_assets.arrays import Objects
from crewflow_assets.cost_code_mapping.chart import Chart, prepare
from crewflow_assets.cost_code_mapping.history import History
from crewflow_assets.cost_code_mapping.model import MappingPredictor
from crewflow_assets.cost_code_mapping.table import source_of, target_of
from crewflow_assets.evaluation.calibration import expected_calibration_error
from crewflow_assets.evaluation.intervals import cluster_mean
from crewflow_assets.twin.records import Company

SHARES = (0.0, 0.05, 0.1, 0.25, 0.5)
WRONG = 0.05
ASKED_AT_MOST = 60


def ask(company: Company, predictors: Mapping[str, MappingPredictor], *, seed: int) -> Iterator[dict[str, object]]:
    """Ask about one half of what the company's people mapped, with shares of the whole labelled from the other half.

    Each share is asked with clean labels and with 5 % of them wrong; smaller shares are parts of larger ones.
    """
    records = records_of(company, f"{TEST_SEED}/{company.id}")
    chart = Chart([target_of(account) for account in records.accounts])
    decided = {(d.kind, d.source_code): d.target_code for d in records.decisions if d.target_code in chart.position}
    keys = list(decided)
    queries = prepare([source_of(records.items[key], company.industry) for key in keys])
    labels = np.array([chart.position[str(decided[key])] for key in keys])
    hidden: dict[tuple[str, str], str] = {(kind, code): target for (kind, code), target in company.truth.items()}
    truth = np.array([chart.position.get(hidden[key], -1) for key in keys])
    random = np.random.default_rng([seed, int(company.id.rsplit("-", 1)[-1])])
    order = random.permutation(len(keys))
    asked, rest = order[: min(len(keys) // 2, ASKED_AT_MOST)], order[len(keys) // 2 :]
    another = [random.choice(labels[labels != label]) if (labels != label).any() else label for label in labels]
    spoilt = np.where(random.random(len(keys)) < WRONG, another, labels)
    for share in SHARES:
        known = rest[: round(share * len(keys))]
        for noise, said in ((0.0, labels), (WRONG, spoilt)):
            if noise and not share:
                continue
            history = History.of([queries[i] for i in known], [chart.targets[said[i]].code for i in known], chart)
            for row in asked:
                for name, predictor in predictors.items():
                    ranking = predictor.rank(
                        predictor.features(queries[row], chart, history),
                        int(history.usable(queries[row].source.kind).sum()),
                    )
                    limit = np.inf if predictor.threshold is None else predictor.threshold
                    yield {
                        "company": records.company_id,
                        "industry": company.industry,
                        "convention": company.convention,
                        "share": share,
                        "noise": noise,
                        "method": name,
                        "item": int(row),
                        "right": float(ranking.order[0] == labels[row]),
                        "true": float(ranking.order[0] == truth[row]),
                        "people_true": float(labels[row] == truth[row]),
                        "confidence": ranking.confidence,
                        "automatic": bool(ranking.confidence >= limit),
                    }


def curve(answers: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each share, noise and method, intervals by company."""
    rows = []
    for (noise, share, method), given in answers.groupby(["noise", "share", "method"], sort=True):
        companies: Objects = given["company"].to_numpy(object)
        right = cluster_mean(given["right"].to_numpy(), companies)
        chosen = given[given["automatic"]]
        rows.append(
            {
                "wrong labels": noise,
                "labelled": share,
                "method": method,
                "n": len(given),
                "top-1": right.value,
                "low": right.low,
                "high": right.high,
                "top-1 of the truth": given["true"].mean(),
                "automatic": given["automatic"].mean(),
                "of it right": chosen["right"].mean() if len(chosen) else None,
                "of it true": chosen["true"].mean() if len(chosen) else None,
                "ECE": expected_calibration_error(given["confidence"].to_numpy(), given["right"].to_numpy()),
            }
        )
    return pd.DataFrame(rows)


def by(answers: pd.DataFrame, column: str, share: float) -> pd.DataFrame:
    """Return top-1 at one share for each value of a column, methods side by side."""
    chosen = answers[(answers["share"] == share) & (answers["noise"] == 0.0)]
    table = chosen.pivot_table(index=column, columns="method", values="right", aggfunc="mean")
    counts = chosen.groupby(column).agg(companies=("company", "nunique"), n=("item", "size"))
    return table.join(counts.assign(n=counts["n"] // chosen["method"].nunique())).reset_index()
