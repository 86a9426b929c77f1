"""The serving benchmark: what it asks is valid and never repeats, what it measures is what happened."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.serving_cases import CASES, Case, timed
from benchmarks.serving_figures import (
    BATCH,
    LOGS,
    SINGLE,
    Found,
    Measured,
    Probed,
    Ratio,
    markdown,
    ratios,
    write_plots,
)
from benchmarks.serving_load import Plan, RefusedError, drive
from benchmarks.serving_servers import DESIGN, MLFLOW, OURS, UNLOGGED, Server, encoded, servers
from crewflow_assets.models import MODEL_SPECS

MAPPING = CASES["cost_code_mapping"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_inputs_are_valid_and_never_alike(case: Case) -> None:
    inputs = [*case.inputs(0, 300), *case.inputs(300, 300)]
    for one in inputs:
        case.spec.request_type.model_validate(one)
    if case.spec.name != "sync_health":  # which is asked about the store's integrations in turn
        assert len({json.dumps(one, sort_keys=True) for one in inputs}) == 600
    assert case.inputs(120, 5) == inputs[120:125]
    for probe in case.probes:
        assert len(probe.inputs(0, probe.size)) == probe.size


def test_texts_of_the_mapping_do_not_repeat() -> None:
    names = Counter(str(one["cost_code_name"]) for one in MAPPING.inputs(0, 2000))
    assert max(names.values()) == 1


def test_cases_are_of_models_there_are() -> None:
    assert {name: case.spec for name, case in CASES.items()}.items() <= {
        spec.name: spec for spec in MODEL_SPECS
    }.items()


def test_bodies_are_what_each_server_takes(home: Path) -> None:
    known = {server.name: server for server in servers("cost_code_mapping", "cfk_x", design="a:app")}
    inputs = MAPPING.inputs(0, 5)

    def bodies(server: Server, batch: int) -> list[object]:
        return [json.loads(line) for line in encoded(server, inputs, batch=batch).splitlines()]

    assert bodies(known[OURS], 1) == inputs
    assert bodies(known[OURS], 2) == [{"inputs": inputs[:2]}, {"inputs": inputs[2:4]}, {"inputs": inputs[4:]}]
    assert bodies(known[MLFLOW], 5) == [{"dataframe_records": inputs}]
    assert known[OURS].headers == {"Authorization": "Bearer cfk_x"}
    assert known[DESIGN].batch is None
    assert len({(*server.command(1), *server.environment.items()) for server in known.values()}) == len(known)


def test_clients_send_every_body_once(tmp_path: Path) -> None:
    seen = asked(tmp_path, count=40, cycle=False, seconds=60, refuse_from=10**9)
    assert seen == {f'"{i}"': 1 for i in range(40)}


def test_clients_begin_anew_with_their_bodies(tmp_path: Path) -> None:
    seen = asked(tmp_path, count=6, cycle=True, seconds=0.2, refuse_from=10**9)  # 5 warm, so 4 clients send 9 or more
    assert seen.keys() == {f'"{i}"' for i in range(6)}
    assert seen.total() > 6


def test_an_answer_that_is_not_200_ends_the_measurement(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="answered 503: b'enough'"):
        asked(tmp_path, count=40, cycle=False, seconds=60, refuse_from=20)


def asked(folder: Path, *, count: int, cycle: bool, seconds: float, refuse_from: int) -> Counter[str]:
    """Let four clients ask a server that counts, of which five requests warm it, and check what they report."""
    from aiohttp import web
    from aiohttp.test_utils import TestServer

    seen: Counter[str] = Counter()
    at_once: list[int] = [0, 0]

    async def answer(request: web.Request) -> web.Response:
        at_once[0] += 1
        at_once[1] = max(at_once)
        seen[await request.text()] += 1
        await asyncio.sleep(0.001)
        at_once[0] -= 1
        if sum(seen.values()) > refuse_from:
            return web.Response(status=503, text="enough")
        assert request.headers["X-Key"] == "k"
        return web.Response(text="fine")

    async def run() -> int:
        app = web.Application()
        app.router.add_post("/ask", answer)
        bodies = folder / "bodies"
        bodies.write_text("\n".join(f'"{i}"' for i in range(count)))
        async with TestServer(app) as server:
            plan = Plan(
                url=str(server.make_url("/ask")),
                headers={"X-Key": "k"},
                bodies=str(bodies),
                clients=4,
                seconds=seconds,
                warm=5,
                cycle=cycle,
            )
            taken = await drive(plan)
        assert all(0 < latency <= taken.seconds for latency in taken.latencies)
        return len(taken.latencies)

    timed_requests = asyncio.run(run())
    assert timed_requests == sum(seen.values()) - 5
    assert at_once[1] == 4
    return seen


def measured(server: str, load: str, rows: int, rates: tuple[float, ...]) -> Measured:
    seconds = tuple(1 / rate for rate in rates)
    return Measured("m", server, load, rows, rates, tuple(0.5 * one for one in seconds), seconds)


def test_ratios_compare_round_with_round_and_rows_with_rows(tmp_path: Path) -> None:
    found = Found(
        "m",
        (
            measured(OURS, SINGLE, 1, (100.0, 50.0, 90.0)),
            measured(DESIGN, SINGLE, 1, (20.0, 10.0, 60.0)),
            measured(MLFLOW, SINGLE, 1, (50.0, 50.0, 45.0)),
            measured(OURS, LOGS, 1, (100.0, 50.0, 90.0, 80.0)),
            measured(UNLOGGED, LOGS, 1, (100.0, 100.0, 90.0, 80.0)),
            measured(OURS, BATCH, 100, (10.0, 5.0, 9.0)),
        ),
        {"encode": 4.0},
        (Probed("quick", 1.0, 9.0, (0.5, 0.9)), Probed("slow", 1.0, 0.1, (0.5, 1.1))),
    )
    by_name = {ratio.name: ratio for ratio in ratios(found)}
    assert by_name["requests/s, ours over the PRD's design"].rounds == (5.0, 5.0, 1.5)
    assert by_name["requests/s, ours over the PRD's design"].verdict == "yes"
    assert by_name["requests/s, ours over mlflow models serve"].verdict == "**no**"
    assert by_name["rows/s, batch over single"].value == pytest.approx(10)
    assert by_name["processor time of a request without logs over with"].rounds == (1.0, 0.5, 1.0, 1.0)
    text = markdown(found)
    assert "| batch | **crewflow gateway** | 9.0 | 900 | 5.0 – 10.0 | 111.1 | 198.2 | 0.56 |" in text
    assert "| quick | 9.00 | 0.700, 0.900 | 1 | yes |" in text
    assert "| slow | 0.10 | 0.800, 1.100 | 1 | **no** |" in text
    write_plots([found], tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "serving-m-single.png",
        "serving-m-batch.png",
    }


def test_a_ratio_has_the_interval_of_its_median_and_of_few_rounds_their_range() -> None:
    assert Ratio("few", (3.0, 1.0, 2.0), None).bounds == (1.0, 3.0)
    # of 10 values, the 2nd and the 9th bound the median with 97.9 %, the 3rd and the 8th with 89.1 %
    assert Ratio("many", tuple(float(n) for n in (5, 1, 9, 3, 7, 10, 2, 8, 4, 6)), None).bounds == (2.0, 9.0)


def test_work_is_timed_one_by_one() -> None:
    done: list[int] = []
    assert len(timed(done.append, [1, 2, 3])) == 3
    assert done == [1, 2, 3]
