"""What real error bodies are taken for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.retry_strategy.taxonomy import CLASSES, DESCRIPTIONS, FLOOR, classify, normalised
from crewflow_assets.retry_strategy.vendor_codes import CODES, EXAMPLES, WORDS

FAULT = '{"Fault":{"Error":[{"Message":"%s","Detail":"%s","code":"%s","element":""}],"type":"ValidationFault"}}'
XERO = '{"ErrorNumber":10,"Type":"ValidationException","Message":"A validation exception occurred","Elements":[%s]}'
SAGE = '[{"$severity":"error","$dataCode":"%s","$message":"%s","$source":""}]'


@pytest.mark.parametrize(
    ("system", "status", "text", "expected", "how"),
    [
        ("quickbooks", 429, "message=ThrottleExceeded; errorCode=003001; statusCode=429", "rate_limit", "code"),
        ("quickbooks", 403, "message=ThrottleExceeded; errorCode=003001; statusCode=403", "rate_limit", "code"),
        (
            "quickbooks",
            400,
            FAULT % ("Stale Object Error", "You and root were working on this", 5010),
            "conflict",
            "code",
        ),
        ("quickbooks", 400, FAULT % ("Duplicate Document Number Error", "", 6140), "duplicate", "code"),
        (
            "quickbooks",
            400,
            FAULT % ("Account Period Closed", "the books cannot be updated", 6210),
            "closed_period",
            "code",
        ),
        ("quickbooks", 400, FAULT % ("Object Not Found", "made inactive", 610), "not_found", "code"),
        (
            "quickbooks",
            400,
            FAULT % ("Unsupported Operation", "Operation x is not supported", 500),
            "validation",
            "code",
        ),
        ("quickbooks", 400, FAULT % ("Invalid Company Status", "trial ended", 6190), "subscription", "code"),
        ("quickbooks", 401, "message=AuthenticationFailed; errorCode=003200; statusCode=401", "auth", "code"),
        ("quickbooks", 401, '{"code":"3200","detail":"Token expired: AB01"}', "token_expired", "text"),
        (
            "xero",
            503,
            "oauth_problem=rate%20limit%20exceeded&oauth_problem_advice=please%20wait",
            "rate_limit",
            "text",
        ),
        ("xero", 503, "The organisation is offline", "server_error", "text"),
        ("xero", 400, XERO % '{"Message":"The date is before the period lock date"}', "closed_period", "text"),
        ("xero", 400, XERO % '{"Message":"Email address must be valid."}', "validation", "code"),
        ("xero", 403, '{"Title":"Forbidden","Status":403,"Detail":"AuthenticationUnsuccessful"}', "auth", "code"),
        ("xero", 429, "X-Rate-Limit-Problem: day", "quota", "text"),
        ("xero", 429, "X-Rate-Limit-Problem: minute", "rate_limit", "text"),
        ("sage", 404, SAGE % ("RecordNotFound", "Couldn't find record."), "not_found", "code"),
        ("sage", 422, SAGE % ("RecordInvalid", "Reference has already been taken"), "duplicate", "text"),
        ("sage", 401, SAGE % ("AuthorizationFailure", "Access denied."), "auth", "code"),
        ("sage", 503, "", "server_error", "status"),
        ("other", None, "read ECONNRESET", "network", "text"),
        ("other", None, "certificate has expired", "tls", "text"),
        ("other", None, "no answer within 30 s", "timeout", "text"),
        ("other", 418, "teapot", "validation", "status"),
        ("other", None, "The remote party shut the connection without warning", "network", "similarity"),
    ],
)
def test_real_bodies(system: str, status: int | None, text: str, expected: str, how: str) -> None:
    found = classify(system, status, None, text)
    assert (found.name, found.how) == (expected, how)


def test_a_code_counts_for_its_own_system_alone() -> None:
    assert classify("quickbooks", 400, "6240", "x").name == "duplicate"
    assert classify("xero", 400, "6240", "x").name == "validation"


def test_a_text_cannot_contradict_the_status() -> None:
    assert classify("xero", 400, None, "Employee 'Timeout Connection Reset Ltd' is invalid").name == "validation"
    assert classify("xero", 500, None, "Internal error: record already exists").name == "server_error"


def test_the_callers_word_counts_where_nothing_else_tells() -> None:
    assert classify("xero", None, None, "…", "rate_limit").how == "error_type"
    assert classify("xero", 503, None, "…", "validation").name == "server_error"


@pytest.mark.parametrize(
    "text",
    [
        "The moon is made of green cheese",
        "flux capacitor overrun in module 7 (E-77)",
        "ledger module reported KX-9: rollup deferred",
        "posting engine returned state 14",
        "your parcel was delivered to the neighbour",
        "workflow step awaits its turn",
        "dimension rollup mismatch in cube",
        "",
        "!!! 42",
    ],
)
def test_what_resembles_nothing_is_unknown(text: str) -> None:
    assert classify("sage", None, None, text, "oops").name == "unknown"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We could not resolve the host", "network"),
        ("Slow down! You're calling us too often", "rate_limit"),
        ("This customer was deleted", "not_found"),
        ("somebody else changed the record", "conflict"),
        ("The payroll run for that date was finished", "closed_period"),
        ("You've used today's api calls", "quota"),
        ("identity of server could not be verified", "tls"),
        ("backend not available at present", "server_error"),
    ],
)
def test_unseen_wordings_find_the_nearest_example(text: str, expected: str) -> None:
    found = classify("other", None, None, text)
    assert found.name == expected
    assert found.how == "similarity"
    assert found.similarity is not None
    assert found.similarity >= FLOOR


def test_the_taxonomy_is_closed() -> None:
    assert set(DESCRIPTIONS) == set(CLASSES)
    assert {name for codes in CODES.values() for name in codes.values()} <= set(CLASSES)
    assert set(WORDS.values()) | set(EXAMPLES) <= set(CLASSES)
    assert "unknown" not in EXAMPLES


def test_numbers_and_ids_do_not_tell_messages_apart() -> None:
    first = normalised("Invoice 1234 (9578549e-aec1-11e7-b587-065b8ec10ed1) at https://a.example/x?y=1")
    assert (
        first
        == normalised("Invoice 77 (00000000-aec1-11e7-b587-065b8ec10ed1) at https://b.example/z")
        == "invoice at"
    )


@given(
    st.sampled_from(["quickbooks", "xero", "sage", "other"]),
    st.none() | st.integers(0, 999),
    st.none() | st.text(max_size=20),
    st.text(max_size=200),
    st.none() | st.text(max_size=20),
)
def test_every_error_has_a_class(
    system: str, status: int | None, code: str | None, text: str, word: str | None
) -> None:
    assert classify(system, status, code, text, word).name in CLASSES
