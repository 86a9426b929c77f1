"""What became of suggested mappings: which account people chose."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.cost_code_mapping.actions import item_asked
from crewflow_assets.cost_code_mapping.ledger import PERSON, Item
from crewflow_assets.monitoring.hook import SLOW_CLOCK, WORDS, Basis, Described, Logged, Monitored, Seen, inverse
from crewflow_assets.store.database import batched
from crewflow_assets.store.tables import Event

Happened = tuple[datetime, dict[str, Any]]


class MappingOutcomes(Monitored):
    """Judged by ``mapping_decision`` events: by id, and an automatic mapping by what people did to its item later."""

    right_means = "a person chose the first suggestion"
    outcome_words = f"one of {', '.join(map(repr, WORDS))}"

    def said(self, logged: Logged) -> float | None:
        """Return the confidence of the first suggestion."""
        return float(logged.output["suggestions"][0]["confidence"]) if logged.output["suggestions"] else None

    def seen(self, session: Session, logged: Sequence[Logged]) -> dict[str, Seen]:
        """Replay the decisions on each item since the first prediction; what was taken back again judges nothing."""
        by_id = {one.id: one for one in logged}
        since = min(one.created_at for one in logged) - SLOW_CLOCK
        companies = sorted({one.company_id for one in logged if one.company_id is not None})
        found: dict[str, Seen] = {}
        for part in batched(companies):
            rows = session.execute(
                select(Event.company_id, Event.occurred_at, Event.payload)
                .where(Event.kind == "mapping_decision", Event.company_id.in_(part), Event.occurred_at >= since)
                .order_by(Event.occurred_at, Event.id)
            )
            by_item: dict[tuple[str, Item], list[Happened]] = defaultdict(list)
            for company, at, said in rows:
                by_item[company, (said["kind"], said["source_code"], said["system"])].append((at, said))
            for of, happened in by_item.items():
                found |= _judged(of, happened, by_id)
        return found

    def reported(self, logged: Logged, outcome: str, value: float | None) -> tuple[float, bool] | None:  # noqa: ARG002
        """Take the common words, said of the first suggestion."""
        right = WORDS.get(outcome)
        return None if right is None or not logged.output["suggestions"] else (float(right), right)

    def automatic(self, logged: Logged) -> bool:
        """Whether the first suggestion was mapped without asking a person."""
        return _mapped(logged)

    def described(self, logged: Logged) -> Described:
        """Describe the code, its name and the chart that came with it."""
        asked = logged.inputs
        name, code = str(asked["cost_code_name"]), str(asked["crewflow_cost_code"])
        accounts = asked.get("target_accounts")
        return {
            "kind": asked.get("kind"),
            "system": asked["target_system"],
            "industry": asked["company_industry"],
            "project_type": asked.get("crewflow_project_type"),
            "name_words": float(len(name.split())),
            "name_length": float(len(name)),
            "code_length": float(len(code)),
            "code_digits": sum(map(str.isdigit, code)) / len(code),
            "described": "yes" if asked.get("cost_code_description") else "no",
            "grouped": "yes" if asked.get("cost_code_group") else "no",
            "accounts_sent": None if accounts is None else float(_count(accounts)),
        }

    def answered(self, logged: Logged) -> Described:
        """Describe the confidence, and who decides."""
        return {"said": self.said(logged), "method": logged.output["method"]}


def _count(accounts: Any) -> int:
    """Return how many accounts were sent; long lists are logged as their count."""
    return int(accounts["count"]) if isinstance(accounts, dict) else len(accounts)


def _judged(of: tuple[str, Item], happened: Sequence[Happened], by_id: dict[str, Logged]) -> dict[str, Seen]:
    """Judge predictions by what happened to an item of a company; one of another item that is named says nothing."""
    found: dict[str, Seen] = {}
    automatic = chosen = None  # the predictions behind what stands: decided by the platform, or by a person
    for at, group in groupby(happened, key=lambda one: one[0]):
        for _, said in group:
            named = by_id.get(said.get("prediction_id") or "")
            named = named if named is not None and (named.company_id, item_asked(named.inputs)) == of else None
            if said["action"] == "undo":
                if automatic is not None and said["decided_by"] != "outbox":
                    found[automatic.id] = _seen(automatic, at, None, "reviewed")
                elif chosen is not None:
                    found.pop(chosen.id, None)
                automatic = chosen = None
            elif said["method"] not in PERSON:
                automatic, chosen = named, None
            else:
                if automatic is not None and (named is None or named.id != automatic.id):
                    found[automatic.id] = _seen(automatic, at, said["target_code"], "reviewed")
                if named is not None:
                    found[named.id] = _seen(named, at, said["target_code"], _basis(named, automatic))
                automatic, chosen = None, named
    return found


def _mapped(logged: Logged) -> bool:
    return any(one["auto_map"] for one in logged.output["suggestions"])


def _basis(named: Logged, automatic: Logged | None) -> Basis:
    if named.withheld:
        return "blind"
    if automatic is not None or _mapped(named):
        return "reviewed"
    return "decided"


def _seen(logged: Logged, at: datetime, chosen: str | None, basis: Basis) -> Seen:
    suggested = logged.output["suggestions"]
    right = bool(suggested) and suggested[0]["target_code"] == chosen
    weight = {"blind": inverse(logged) if basis == "blind" else 0.0, "reviewed": 0.0}.get(basis, 1.0)
    return Seen(
        at=at,
        outcome="taken back" if chosen is None else chosen,
        actual=float(right),
        right=right,
        basis=basis,
        weight=weight,
    )
