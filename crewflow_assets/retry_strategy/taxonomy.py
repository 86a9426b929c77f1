"""The closed taxonomy of errors, and how one is found from status, vendor code and text.

In this order: the vendor's code; a telling phrase; the HTTP status; the caller's own word; the nearest example
by character n-grams, if it is near enough; else ``unknown``. ``docs/retry.md`` describes every class.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args
from urllib.parse import unquote_plus

from crewflow_assets.retry_strategy.contract import ErrorClass
from crewflow_assets.retry_strategy.vendor_codes import CODES, EXAMPLES, PHRASES, WORDS

How = Literal["code", "text", "status", "error_type", "similarity", "nothing"]

CLASSES: tuple[ErrorClass, ...] = get_args(ErrorClass)
FLOOR = 0.28
"""Cosine below which the nearest example explains nothing. Set by eye: of 18 paraphrases of errors one was below it,
of 21 sentences about something else three were above, each sharing a rare word with an example."""

DESCRIPTIONS: Mapping[ErrorClass, str] = {
    "rate_limit": "too many calls in a minute or at once; the window passes",
    "quota": "the calls of the day are used up; they come back with the day",
    "server_error": "the API failed or is down, maintenance included",
    "timeout": "no answer in time; whether the call took effect is not known",
    "network": "no connection, or one that broke",
    "tls": "the secure connection could not be made, as a certificate is wrong or expired",
    "token_expired": "the access token's life is over; the refresh token gets a new one",
    "auth": "the grant is revoked, or the person or app lacks the permission",
    "subscription": "the customer's subscription at the vendor has ended or is unpaid",
    "validation": "the vendor refuses the content",
    "not_found": "the record, or one that it refers to, is deleted, inactive or unknown",
    "conflict": "the record was changed since it was read (a stale version)",
    "duplicate": "such a record is there already; it may be our own earlier attempt",
    "closed_period": "the accounting or payroll period is closed",
    "unknown": "nothing above explains the message",
}

_TELLING: tuple[tuple[re.Pattern[str], ErrorClass], ...] = tuple((re.compile(p), name) for p, name in PHRASES)
_NO_ANSWER: frozenset[ErrorClass] = frozenset({"timeout", "network", "tls"})
_REFINING: frozenset[ErrorClass] = frozenset(
    {"closed_period", "duplicate", "conflict", "not_found", "rate_limit", "quota", "token_expired", "subscription"}
)
"""Classes that the text may name though the code says only that something was refused."""
_GENERAL: frozenset[ErrorClass] = frozenset({"validation", "auth"})
_STATUS: Mapping[int, ErrorClass] = {
    400: "validation", 401: "auth", 402: "subscription", 403: "auth", 404: "not_found", 405: "validation",
    406: "validation", 407: "auth", 408: "timeout", 409: "conflict", 410: "not_found", 412: "conflict",
    413: "validation", 415: "validation", 422: "validation", 423: "conflict", 425: "server_error", 429: "rate_limit",
    495: "tls", 496: "tls", 501: "validation", 504: "timeout", 522: "network", 523: "network", 524: "timeout",
    525: "tls", 526: "tls",
}  # fmt: skip
_IN_TEXT = (
    re.compile(r'errorcode["\']?\s*[=:]\s*["\']?(\w+)', re.I),
    re.compile(r'["\']?\$datacode["\']?\s*[=:]\s*["\']?(\w+)', re.I),
    re.compile(r'["\']?errornumber["\']?\s*[=:]\s*["\']?(\d+)', re.I),
    re.compile(r"<errornumber>(\d+)", re.I),
    re.compile(r'<error[^>]*\bcode="(\d+)"', re.I),
    re.compile(r'["\']code["\']\s*:\s*["\']?(\d+)', re.I),
    re.compile(r'["\']detail["\']\s*:\s*["\'](\w+)["\']', re.I),
)
_STATUS_IN_TEXT = re.compile(r"(?:status(?:code)?|http)[\"']?\s*[=:/ ]\s*(?:1\.1 )?([1-5]\d\d)\b", re.I)
_NOISE = re.compile(r"https?://\S+|[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{16,}\b|\d+")


@dataclass(frozen=True, slots=True)
class Classified:
    """The class of an error, what it was read from, and for a likeness how near it is (cosine)."""

    name: ErrorClass
    how: How
    similarity: float | None = None


@lru_cache(maxsize=50_000)
def classify(
    system: str, status: int | None, code: str | None, text: str | None, error_type: str | None = None
) -> Classified:
    """Find the class of an error.

    Args:
        system: ``quickbooks``, ``xero``, ``sage`` or another, whose codes are then not read.
        status: HTTP status; None, or 0, where no answer came.
        code: The vendor's code; None: looked for in the text.
        text: The message, or the whole body.
        error_type: The caller's own word for it.
    """
    words = unquote_plus(text or "").lower()
    status = status or _status_in(words)
    said = _said(words, status)
    coded = _coded(system, code, words)
    if coded is not None:
        if said in _REFINING and coded in _GENERAL:
            return Classified(said, "text")
        return Classified(coded, "code")
    if said is not None:
        return Classified(said, "text")
    by_status = _by_status(status)
    if by_status is not None:
        return Classified(by_status, "status")
    hinted = WORDS.get((error_type or "").strip().lower().replace("-", "_").replace(" ", "_"))
    if hinted is not None:
        return Classified(hinted, "error_type")
    return _by_similarity(words)


def _coded(system: str, code: str | None, words: str) -> ErrorClass | None:
    known = CODES.get(system)
    if known is None:
        return None
    found = [code] if code else [match.group(1) for pattern in _IN_TEXT for match in pattern.finditer(words)]
    for one in found:
        key = one.strip().lower()
        key = key.lstrip("0") or key
        if key in known:
            return known[key]
    return None


def _status_in(words: str) -> int | None:
    found = _STATUS_IN_TEXT.search(words)
    return int(found.group(1)) if found else None


def _said(words: str, status: int | None) -> ErrorClass | None:
    """Return what the text gives away, where it does not contradict the status."""
    for pattern, name in _TELLING:
        if pattern.search(words) and _agrees(name, status):
            return name
    return None


def _agrees(name: ErrorClass, status: int | None) -> bool:
    """Say whether a class can come with a status: an answer that refuses content is no broken connection."""
    if status is None or status < 400:
        return True
    if name in ("rate_limit", "quota"):
        return status in (400, 403, 429, 503)  # QuickBooks throttled with 403, Xero with 503
    if status >= 500:
        return name in (*_NO_ANSWER, "server_error")
    if name in _NO_ANSWER or name == "server_error":
        return status in (408, 425)
    if status == 429:
        return False
    if status in (401, 403):
        return name in ("auth", "token_expired", "subscription")
    return True


def _by_status(status: int | None) -> ErrorClass | None:
    if status is None:
        return None
    return _STATUS.get(status) or ("server_error" if status >= 500 else "validation" if status >= 400 else None)


def normalised(text: str) -> str:
    """Return a message without what differs from one time to the next: addresses, ids, numbers."""
    return re.sub(r"\W+", " ", _NOISE.sub(" ", text.lower())).strip()


def _by_similarity(words: str) -> Classified:
    """Return the class of the nearest example, if it is near enough."""
    vectors, rows, names = _examples()
    if not normalised(words):
        return Classified("unknown", "nothing")
    likeness = (rows @ vectors.transform([words]).T).toarray()[:, 0]
    nearest = int(likeness.argmax())
    similarity = float(likeness[nearest])
    if similarity < FLOOR:
        return Classified("unknown", "nothing", similarity)
    return Classified(names[nearest], "similarity", similarity)


@lru_cache(maxsize=1)
def _examples() -> tuple[Any, Any, list[ErrorClass]]:
    """Return the vectoriser (hashed character 3- to 5-grams, TF-IDF, unit length), the examples' rows and classes.

    Hashed, so that n-grams which no example has count in a message's length: a message that shares one word of many
    with an example is not near it.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline

    def content(text: str) -> str:
        return " ".join(word for word in normalised(text).split() if word not in ENGLISH_STOP_WORDS)

    texts, names = zip(*((text, name) for name, all_ in EXAMPLES.items() for text in all_), strict=True)
    hashed = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 5),
        preprocessor=content,
        n_features=2**16,
        norm=None,
        alternate_sign=False,
    )
    vectors = make_pipeline(hashed, TfidfTransformer(sublinear_tf=True))
    return vectors, vectors.fit_transform(texts), list(names)
