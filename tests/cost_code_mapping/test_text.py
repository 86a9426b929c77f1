"""How names are read: by behaviour, not by the table of abbreviations."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from crewflow_assets.cost_code_mapping.text import (
    CUES,
    DIMENSIONS,
    Weighted,
    code_prefix,
    code_stem,
    cost_type,
    grams,
    normalised,
    unordered,
    vectors,
    words,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Rough Electrical Labor", "ROUGH ELECTRICAL LABOR"),
        ("Rough Electrical Labor", "rough-electrical: labor!"),
        ("Rough Electrical Labor", "Labor, Electrical (Rough)"),
        ("Rough Electrical Labor", "ELEC LBR ROUGH"),
        ("Electrical Rough-In Labor", "ELEC R/I LBR"),
        ("Concrete Footing Material", "Conc. Ftg Matl"),
        ("Concrete Footing Materials", "Conc Ftgs Mats"),
        ("Plumbing Subcontractors", "PLBG SUBS"),
        ("Labour", "labor"),
        ("Permits", "PERMIT"),
        ("Béton armé", "BETON ARME"),
        ("Ｆｕｌｌ width", "full width"),
        ("Equipment\u00a0Rental", "equip.  rental"),
    ],
)
def test_names_that_mean_the_same_are_read_alike(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Electrical Labor", "Electrical Materials"),
        ("Phase 1 Framing", "Phase 2 Framing"),
        ("Interior paint", "Exterior paint"),
        ("材料費", "人件費"),
        ("Арматура", "Бетон"),
    ],
)
def test_names_that_differ_are_read_apart(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)
    assert normalised(one)


@pytest.mark.parametrize("name", ["Glass", "Gas", "Truss", "Basis", "Status"])
def test_words_that_end_in_s_but_are_no_plurals_keep_it(name: str) -> None:
    assert words(name) == (name.lower(),)


@given(st.text())
def test_any_text_at_all_is_read_without_an_error(text: str) -> None:
    found = words(text)
    assert all(word and word == word.casefold() and not word.isspace() for word in found)
    assert normalised(text) == " ".join(sorted(found))


@given(st.text(max_size=20))
def test_any_code_has_a_prefix_and_perhaps_a_cost_type(code: str) -> None:
    assert code_prefix(code) == code_prefix(code).lower()
    assert cost_type("", code) in (None, "labor", "material", "subcontract", "equipment", "overhead")


@pytest.mark.parametrize(
    ("name", "code", "kind"),
    [
        ("Rough Electrical LBR", "", "labor"),
        ("Rough Electrical Mat'l", "", "material"),
        ("Fire alarm sub", "", "subcontract"),
        ("Crane rental", "", "equipment"),
        ("Builder's insurance", "", "overhead"),
        ("Rough Electrical", "16-100.L", "labor"),
        ("Rough Electrical", "16-100 M", "material"),
        ("Rough Electrical", "16100S", "subcontract"),
        ("Rough Electrical Labor", "16-100.M", "labor"),  # the name speaks before the suffix
        ("Rough Electrical", "ELEC", None),  # the last letter of a word is no suffix
        ("Rough Electrical", "16-100.X", None),
        ("Rough Electrical", "", None),
    ],
)
def test_the_cost_type_is_read_from_the_name_or_else_from_the_code(name: str, code: str, kind: str | None) -> None:
    assert cost_type(name, code) == kind


@pytest.mark.parametrize(("kind", "cue"), [(kind, cue) for kind, cues in CUES.items() for cue in sorted(cues)])
def test_every_cue_is_found_in_the_name_that_it_is(kind: str, cue: str) -> None:
    assert cost_type(cue) == kind


@pytest.mark.parametrize(
    ("code", "prefix"),
    [
        ("ELEC-105", "elec"),
        ("16-100.L", "16"),
        ("16100", "161"),
        ("03 30 00", "03"),
        ("7", "7"),
        ("A1", "a1"),
        ("", ""),
    ],
)
def test_a_code_shares_its_prefix_with_its_neighbours(code: str, prefix: str) -> None:
    assert code_prefix(code) == prefix


def test_vectors_have_unit_length_and_similar_names_are_near() -> None:
    found = vectors(["Rough Electrical Labor", "ELEC LBR, rough", "Finish Electrical Labor", "Office rent", "!"])
    assert found.shape[0] == 5
    similarity = (found @ found.T).toarray()
    assert np.diag(similarity)[:4] == pytest.approx(1, abs=1e-5)
    assert similarity[0, 1] == pytest.approx(1, abs=1e-5)
    assert 0.4 < similarity[0, 2] < 0.99
    assert similarity[0, 3] < 0.2
    assert similarity[4].max() == 0  # nothing to compare


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
@example(["Rough Electrical Labor", "a b", "!", "", "é 材料費 x", "ELEC R/I LBR", "1 22 333 4444 55555", "Ꭰ"])
def test_vectors_are_those_of_scikit_learn(texts: list[str]) -> None:
    theirs = HashingVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), n_features=DIMENSIONS, alternate_sign=False, dtype=np.float32
    ).transform([normalised(text) for text in texts])
    np.testing.assert_allclose(vectors(texts).toarray(), theirs.toarray(), atol=1e-6)


def test_no_texts_have_no_vectors_but_their_width() -> None:
    assert vectors([]).shape == (0, vectors(["x"]).shape[1])


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6), st.lists(st.text(max_size=20), min_size=1, max_size=3))
@example(["Lighting systems", "Roof systems", "Foundations"], ["Foundation systems", "", "Roof"])
def test_weighted_texts_are_compared_as_by_tf_idf(texts: list[str], asked: list[str]) -> None:
    counts = vectors(texts)
    reference = TfidfTransformer().fit(counts)
    expected = reference.transform(vectors(asked)) @ reference.transform(counts).T
    found = Weighted.of(counts).like([grams(text) for text in asked])
    np.testing.assert_allclose(found, expected.toarray(), atol=1e-5)


@given(st.permutations("ELEC R/I, LBR (2nd floor) of Bldg 7".split()))
def test_a_source_reads_the_same_in_any_order_of_its_words(shuffled: list[str]) -> None:
    assert unordered(" ".join(shuffled)) == "2 7 building electrical floor in labor nd of rough"


@pytest.mark.parametrize(
    ("code", "stem"),
    [
        ("16-100.L", "16-100"),
        ("Ss_20_05_65", "ss_20_05"),
        ("03 30 00", "03 30"),
        ("16-100", "16-10"),
        ("16100", "1610"),
        ("X", ""),
        ("", ""),
        ("16-100.", "16-100"),
    ],
)
def test_the_stem_is_all_but_the_last_part_of_a_code(code: str, stem: str) -> None:
    assert code_stem(code) == stem
