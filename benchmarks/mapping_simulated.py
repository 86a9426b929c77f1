"""Simulated firms that file into one contractor's chart, and the prior that such sets give the benchmark's ranker.

Weights that held on other small sets are where those of a small set start from (empirical Bayes over tasks).
"""

from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.mapping_data import Task, held_by_one, sections_of
from benchmarks.mapping_ours import Workbench, practised_blocks
from benchmarks.mapping_ranker import SIMULATED, Block, Recipe, fit_logit
from benchmarks.mapping_world import END, Simulated, fit_on_world
from crewflow_assets.arrays import AnyFloats
from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, prepare
from crewflow_assets.cost_code_mapping.features import FEATURES
from crewflow_assets.cost_code_mapping.model import MappingPredictor
from crewflow_assets.twin.charts import build_chart
from crewflow_assets.twin.companies import Profile, draw_profile
from crewflow_assets.twin.conventions import Convention, draw_convention
from crewflow_assets.twin.cost_codes import draw_cost_codes
from crewflow_assets.twin.income import draw_income_plan
from crewflow_assets.twin.parameters import DEFAULTS
from crewflow_assets.twin.randomness import Randomness

FIRMS, CODES = 5, 70
COMPANIES = 40  # of a simulated world, of which one gives the chart and FIRMS the lists
PRIOR_WORLDS = range(701, 705)  # seeds that neither the training and test companies nor the small sets have


def simulated(
    count: int, progress: Callable[[int], None] = lambda _done: None, *, worlds: Iterable[int] = PRIOR_WORLDS
) -> Simulated:
    """Fit the product's model on so many companies, and the benchmark's ranker on a set of firms of each world."""
    predictor = fit_on_world(count, progress)
    return Simulated(predictor, fit_prior(predictor, [one_chart(seed) for seed in worlds]))


def fit_prior(predictor: MappingPredictor, tasks: Iterable[Task]) -> AnyFloats:
    """Return the ranker's weights over all sets, which all have headings; they start from the product's."""
    blocks: list[Block] = []
    for task in tasks:
        bench = Workbench(task, predictor)
        blocks += practised_blocks(bench, np.arange(len(task.labels)))[0]
    own, learned = np.split(predictor.weights, [len(FEATURES)])
    first = np.zeros(blocks[0][0].shape[2])
    first[: len(FEATURES)] = own
    first[len(FEATURES) + SIMULATED] = learned[0]
    return fit_logit(blocks, Recipe(first, bounded=False))


def one_chart(seed: int) -> Task:
    """Simulate firms that file their codes into the chart of one contractor, each by its own convention."""
    randomness = Randomness(seed)
    profiles = [draw_profile(randomness, index, END, DEFAULTS) for index in range(1, COMPANIES + 1)]
    owner = next(p for p in profiles if p.general and p.system == "quickbooks" and p.convention != "few_accounts")
    income = draw_income_plan(randomness.generator(owner.id, "income"), owner)
    chart = build_chart(randomness.generator(owner.id, "chart"), owner, _convention(randomness, owner), income)
    place = {account.key: i for i, account in enumerate(chart.accounts)}
    rng = np.random.default_rng(seed)
    order = [p for p in profiles if p is not owner]
    sources, labels, firms = [], [], []
    for profile in [order[i] for i in rng.permutation(len(order))[:FIRMS]]:
        convention = _convention(randomness, profile)
        listed = draw_cost_codes(randomness.generator(profile.id, "cost codes"), profile, DEFAULTS)
        for i in np.sort(rng.permutation(len(listed))[:CODES]):
            line, code = listed[i].line, listed[i].code
            account = chart.first(convention.roles(line.concept, line.cost_type, line.service))
            written = (code.code, code.name, code.description, code.group, code.project_type)
            sources.append(Source("cost_code", *written, profile.industry))
            labels.append(place[account.key])
            firms.append(profile.id)
    by_firm = np.array(firms, object)
    return Task(
        name="simulated firms, one chart",
        chart=Chart([Target(a.key, a.name, a.type, a.parent) for a in chart.accounts]),
        queries=tuple(prepare(sources)),
        labels=np.array(labels, np.int64),
        accepted=tuple(frozenset([label]) for label in labels),
        firms=by_firm,
        sections=sections_of(by_firm, [source.code for source in sources]),
        unseen=held_by_one([source.name for source in sources], firms),
        notes=(),
    )


def _convention(randomness: Randomness, profile: Profile) -> Convention:
    rng = randomness.generator(profile.id, "convention")
    return draw_convention(rng, profile.convention, profile.core, profile.performed, profile.service, DEFAULTS)
