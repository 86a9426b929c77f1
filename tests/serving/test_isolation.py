"""Whatever route is tried with whatever ids of another company: nothing of that company is answered or changed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Row, select
from starlette.testclient import TestClient

from crewflow_assets import clock
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Account, Base, Company, IdempotentAnswer, SourceItem
from crewflow_assets.sync_health.watch import Scored, tick
from serving.runtime import Runtime
from tests.serving.conftest import add_company, bearer, new_key
from tests.serving.test_conflicts import BODY as CONFLICT
from tests.sync_health.watching import risk

RIVAL = "rival-co"
KNOWN_TO_ALL = 8
"""Strings that are shorter, such as "pause" and "hvac", are no one's own."""
TRIED = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Rival:
    """Another company: the headers of its key, what is its own, and the ids that a thief might know."""

    headers: dict[str, str]
    secrets: frozenset[str]
    ids: tuple[str, ...]


def rows(company_id: str) -> list[tuple[str, str]]:
    """Return every row of a company, in every table there is, as text."""
    found: list[tuple[str, str]] = []
    with reading() as session:
        for table in Base.metadata.sorted_tables:
            owner = Company.__table__.c.id if table is Company.__table__ else table.c.get("company_id")
            if owner is not None:
                found += (
                    (table.name, as_text(row)) for row in session.execute(select(table).where(owner == company_id))
                )
        kept = session.execute(select(IdempotentAnswer.__table__))
        found += ((IdempotentAnswer.__tablename__, as_text(row)) for row in kept if row.scope.endswith(company_id))
    return sorted(found)


def as_text(row: Row[Any]) -> str:
    return json.dumps(dict(row._mapping), default=str, sort_keys=True, ensure_ascii=False)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for member in value.values():
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)
    elif isinstance(value, str):
        yield value


@pytest.fixture
def rival(client: TestClient, runtime: Runtime) -> Rival:
    """Company rival-co with rows in every part of the platform, all entered through its own key."""
    add_company(RIVAL)
    at = clock.now()
    headers = bearer(new_key(RIVAL)[0])
    with transaction() as session:
        company = session.get(Company, RIVAL)
        assert company is not None
        company.name = "Rival & Daughters"
        session.add(
            Account(company_id=RIVAL, system="quickbooks", code="rival-777", name="Rival slush fund", created_at=at)
        )
        session.add(
            SourceItem(company_id=RIVAL, kind="cost_code", code="rival-code", name="Rival secret job", created_at=at)
        )

    def post(path: str, body: dict[str, Any]) -> None:
        answer = client.post(path, json=body, headers={**headers, "Idempotency-Key": f"rival {path}"})
        assert answer.status_code == 200, (path, answer.text)

    asked = {"crewflow_cost_code": "rival-code", "cost_code_name": "Rival secret job", "company_industry": "hvac"}
    post("/v1/cost_code_mapping/predict", {**asked, "target_system": "quickbooks"})
    decided = {
        "system": "quickbooks",
        "source_code": "rival-code",
        "target_code": "rival-777",
        "decided_by": "rival-jo",
    }
    post("/v1/mappings/accept", decided)
    post("/v1/conflicts", {**CONFLICT, "conflict_id": "rival-conflict", "worker_id": "rival-worker"})
    post("/v1/conflicts/switches", {"conflict_type": "duplicate", "mode": "automatic", "decided_by": "rival-boss"})
    synced = {"integration_id": "rival-books", "system": "quickbooks", "ok": True, "interval_minutes": 15}
    event = {"event_id": "rival-event", "kind": "sync_attempt", "payload": synced}
    post("/v1/events", {"events": [{**event, "occurred_at": (at - timedelta(minutes=1)).isoformat()}]})
    tick(lambda keys, _: [Scored(risk(0.95, "rate_limit"), 15.0) for _ in keys], at, model_version="1.0")
    assert runtime.log.flush(within_seconds=5)
    texts = {text for _, row in rows(RIVAL) for text in strings(json.loads(row))}
    common = {text for _, row in rows("c-17") for text in strings(json.loads(row))}
    own = {text for text in texts - common if len(text) >= KNOWN_TO_ALL and not re.match(r"20\d\d-", text)}
    documented = json.dumps(client.get("/docs.json").json(), ensure_ascii=False)
    secrets = frozenset(text for text in own if text not in documented)
    assert {"Rival slush fund", "Rival secret job", "rival-books", "rival-conflict", "rival-777"} <= secrets
    return Rival(headers, secrets, tuple(sorted(text for text in secrets if len(text) <= 100)))


Request = tuple[str, str, dict[str, str], dict[str, str], Any]


@st.composite
def requests(draw: st.DrawFn, document: dict[str, Any], ids: tuple[str, ...]) -> Request:
    """A request to any route: its documented example with ids of the rival in some places."""
    path = draw(st.sampled_from([path for path in document["paths"] if path.startswith("/v1/")]))
    method = draw(st.sampled_from(sorted(document["paths"][path])))
    operation = document["paths"][path][method]
    theirs = st.sampled_from([RIVAL, *ids])
    query: dict[str, str] = {}
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", quote(draw(theirs), safe=""))
        elif parameter["in"] == "query" and name == "company_id":
            if draw(st.booleans()):
                query[name] = RIVAL
        elif parameter["in"] == "query" and name in {"after", "q"} and draw(st.integers(0, 3)) == 0:
            query[name] = draw(theirs)
        elif parameter["in"] == "query" and "enum" in (schema := parameter["schema"]) and draw(st.booleans()):
            query[name] = draw(st.sampled_from(schema["enum"]))
    headers = {"Idempotency-Key": draw(st.sampled_from(["k-1", "k-2", f"rival {path}"]))}
    body = None
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        body = draw(with_ids(content["example"], theirs))
        if draw(st.booleans()):
            body["company_id"] = RIVAL
    return method, path, query, headers, body


@st.composite
def with_ids(draw: st.DrawFn, value: Any, theirs: st.SearchStrategy[str]) -> Any:
    """The value with some of its texts replaced by ids of the rival."""
    if isinstance(value, dict):
        return {name: draw(with_ids(member, theirs)) for name, member in value.items()}
    if isinstance(value, list):
        return [draw(with_ids(member, theirs)) for member in value]
    if isinstance(value, str) and draw(st.integers(0, 2)) == 0:
        return draw(theirs)
    return value


def leaked(rival: Rival, request: Request, answer: Any) -> set[str]:
    """Return what of the rival an answer holds, beyond what the request itself held."""
    _, path, query, headers, body = request
    sent = json.dumps([path, query, headers, body], ensure_ascii=False)
    told = answer.text + str(dict(answer.headers))
    return {text for text in rival.secrets if text in told and text not in sent and quote(text, safe="") not in sent}


def ask(client: TestClient, request: Request, key: dict[str, str]) -> Any:
    method, path, query, headers, body = request
    return client.request(method, path, params=query, headers={**key, **headers}, json=body)


def test_no_route_shows_or_changes_another_companys_data(
    client: TestClient, own: dict[str, str], rival: Rival
) -> None:
    document = client.get("/docs.json").json()
    before = rows(RIVAL)

    def check(operations: st.SearchStrategy[Request]) -> None:
        @given(request=operations)
        @TRIED
        def refused(request: Request) -> None:
            answer = ask(client, request, own)
            assert answer.status_code < 500, (request, answer.text)
            assert leaked(rival, request, answer) == set(), (request, answer.text)
            if RIVAL in (request[2].get("company_id"), (request[4] or {}).get("company_id")):
                assert answer.status_code in {400, 403, 404}, (request, answer.text)

        refused()

    for path in (path for path in document["paths"] if path.startswith("/v1/")):
        for method, operation in document["paths"][path].items():
            check(requests({**document, "paths": {path: {method: operation}}}, rival.ids))
            assert rows(RIVAL) == before, f"{method} {path} changed rows of another company"


def test_the_test_would_see_a_leak_and_a_change(client: TestClient, rival: Rival) -> None:
    """With the rival's own key the same questions show its data, and change it."""
    seen = set()
    for path in ("/v1/mappings", "/v1/integrations", "/v1/conflicts", "/v1/integrations/rival-books/health"):
        request: Request = ("get", path, {"state": "all"} if path == "/v1/mappings" else {}, {}, None)
        seen |= leaked(rival, request, ask(client, request, rival.headers))
    assert {"Rival secret job", "rival-books", "rival-conflict"} <= seen
    before = rows(RIVAL)
    undone = {"conflict_type": "duplicate", "mode": "off", "decided_by": "u-1"}
    ask(client, ("post", "/v1/conflicts/switches", {}, {"Idempotency-Key": "x"}, undone), rival.headers)
    assert rows(RIVAL) != before
