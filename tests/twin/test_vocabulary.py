from collections import Counter

from crewflow_assets.twin.vocabulary import COST_TYPES, PHASES, concepts, systems, trades, word_list


def test_there_are_many_concepts_with_several_different_phrasings() -> None:
    assert len(concepts()) >= 280
    for concept in concepts().values():
        assert len({name.casefold() for name in concept.names}) == len(concept.names) >= 3, concept.id
        words = [frozenset(name.casefold().replace("&", "and").split()) for name in concept.names]
        assert len(set(words)) >= 3, concept.id


def test_concepts_are_placed() -> None:
    for concept in concepts().values():
        assert concept.phase in PHASES, concept.id
        assert set(concept.cost_types) <= set(COST_TYPES), concept.id
        assert concept.cost_types, concept.id
        assert len(concept.section) == 4, concept.id
        assert concept.section.isdigit(), concept.id
    ids = [concept.id for trade in trades().values() for concept in trade.concepts]
    assert [name for name, count in Counter(ids).items() if count > 1] == []


def test_every_system_has_names_for_its_accounts() -> None:
    for system in systems().values():
        assert system.accounts, system.id
        assert trades()[system.trade].direct or system.overhead, system.id


def test_what_the_other_files_point_to_exists() -> None:
    for rule in word_list("house_rules")["rules"]:
        when, to = rule["when"], rule["to"]
        assert set(when.get("concepts", ())) <= set(concepts()), rule
        assert when.get("trade", "concrete") in trades(), rule
        assert {when.get("system", "travel"), to.get("system", "travel")} <= set(systems()), rule
        assert to.get("trade", "concrete") in trades(), rule
        assert set(when.get("types", ())) <= set(COST_TYPES), rule
    for merge in word_list("house_rules")["merges"]:
        assert set(merge["trades"]) <= set(trades()), merge
    kinds = set(word_list("names")["project_kinds"])
    for industry in word_list("industries").values():
        assert {*industry["core"], *industry["related"], *industry["subs"]} <= set(trades()), industry
        assert set(industry["project_types"]) <= kinds, industry
    for part in ("customers", "contracts", "income_names"):
        assert set(word_list("names")[part]) == kinds, part
