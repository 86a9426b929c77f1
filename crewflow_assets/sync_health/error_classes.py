"""Which class of error a failed attempt belongs to."""

from typing import TYPE_CHECKING

from crewflow_assets.sync_health.measures import ERRORS

if TYPE_CHECKING:
    import ibis

_WORDS = (
    ("rate_limit", ("429", "rate", "thrott", "quota")),
    ("auth", ("auth", "token", "forbidden", "401", "403", "grant")),
    ("timeout", ("timeout", "timed")),
    ("connection", ("connect", "network", "dns", "ssl", "tls", "socket")),
    ("server", ("5xx", "server", "unavailable", "maintenance", "gateway")),
)


def error_class_of(t: "ibis.Table") -> "ibis.Value":
    """Return 1 + the place in ``ERRORS`` of a failure's class: by its status code first, else by words in its name.

    Args:
        t: With ``status_code`` and ``error_class``.
    """
    import ibis

    place = {name: i + 1 for i, name in enumerate(ERRORS)}
    code, name = t.status_code, t.error_class.lower()
    branches = [
        (code == 429, place["rate_limit"]),
        (code.isin([401, 403]), place["auth"]),
        (code >= 500, place["server"]),
    ]
    branches += [(name.contains(word), place[kind]) for kind, words in _WORDS for word in words]
    return ibis.cases(*branches, else_=place["refused"])
