"""The parameters of the sync world, each cited or an assumption with its range, and the limits of the real APIs."""

from collections.abc import Mapping
from dataclasses import dataclass

from crewflow_assets.twin.notes import assumed, cited
from crewflow_assets.twin.records import AccountingSystem

TICK_MINUTES = 15
TICKS_PER_DAY = 24 * 60 // TICK_MINUTES
SYSTEMS: tuple[AccountingSystem, ...] = ("quickbooks", "sage", "xero")
INTERVALS: Mapping[int, float] = {15: 0.2, 30: 0.25, 60: 0.4, 240: 0.15}
"""Minutes between two syncs, with the share of the integrations that are set to them: an assumption."""


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """What an accounting API allows; None means no such limit.

    ``shared`` limits count the calls of all apps of the customer, others ours alone. ``reports_left`` says that
    answers tell how many calls of the day are left. ``token_days`` is the life of a refresh token left unrenewed.
    """

    calls_per_minute: float
    calls_per_day: float | None
    concurrent: int
    shared: bool
    reports_left: bool
    token_days: float
    source: str


LIMITS: Mapping[AccountingSystem, ApiLimits] = {
    "quickbooks": ApiLimits(
        500,
        None,
        10,
        shared=True,
        reports_left=False,
        token_days=100,
        source="Intuit Developer Blog, 2016-08-08: 500 a minute for a realm, 10 at once for an app and realm; "
        "QuickBooks-V3-Java-SDK 6.5.4: refresh tokens live 100 days",
    ),
    "sage": ApiLimits(
        100,
        2500,
        5,
        shared=True,
        reports_left=True,
        token_days=31,
        source="Sage Business Cloud Accounting v3.1 (knowledgelib.io, 2026): 100 a minute and 2,500 a day for a "
        "company, refresh tokens live 31 days; concurrency and the count of calls left are assumptions",
    ),
    "xero": ApiLimits(
        60,
        5000,
        5,
        shared=False,
        reports_left=True,
        token_days=60,
        source="developer.xero.com/faq/limits: 60 a minute, 5,000 a day, 5 at once for a connection, "
        "X-DayLimit-Remaining; tokens live 60 days unused; that the day begins at midnight UTC is an assumption",
    ),
}

OUTAGE_QUANTILES: tuple[tuple[float, float], ...] = (
    (1, 0.0),
    (5, 0.03),
    (15, 0.43),
    (21.5, 0.50),
    (30, 0.555),
    (60, 0.73),
    (120, 0.86),
    (240, 0.89),
    (1440, 0.94),
)
"""Minutes, and the share of outages that are over by then: measured on 341 outages of public endpoints, whose
probability to be back in the next 15 minutes was .43 at the start, .22 after 15 minutes and .03 after 2 hours (which
places the points at 30 and 120). The few that last longer than a day end by ``longest_outage_hours``."""


@dataclass(frozen=True, slots=True)
class SyncParameters:
    """What the simulated world of syncs is made of. Shares and rates are in [0, 1] unless a unit is named."""

    outages_per_month: float = assumed(2, 1, 4, "of one API, counting those that touch a part of its customers")
    partial_share: float = assumed(0.5, 0.3, 0.7, "outages that touch a part of the customers")
    intermittent_share: float = assumed(0.3, 0.15, 0.5, "outages in which some syncs get through")
    longest_outage_hours: float = assumed(72, 36, 120, "the end of the tail: 6 % of outages last beyond a day")
    degradation_share: float = assumed(0.4, 0.2, 0.6, "outages that slow answers announce")
    degradation_lead_minutes: float = assumed(30, 15, 60, "mean of the time from slow answers to the outage")
    passing_degradations_per_month: float = assumed(3, 1, 6, "slow hours of one API that end by themselves")
    aftermath_share: float = assumed(0.4, 0.2, 0.6, "outages after which errors go on for a while")
    maintenance_per_month: float = assumed(1, 0.5, 2, "planned windows of one API, at weekends")
    maintenance_announced_share: float = assumed(0.7, 0.5, 0.9, "windows that the status page shows")
    status_missed_share: float = assumed(0.3, 0.15, 0.5, "outages that a status page never shows")
    status_lag_minutes: float = assumed(20, 8, 45, "median until a status page shows an outage, and its end")
    status_false_per_month: float = assumed(0.5, 0.1, 1, "troubles of other products that the page of an API shows")
    network_troubles_per_month: float = assumed(1.5, 0.5, 4, "on our side, felt by every integration")
    network_trouble_minutes: float = assumed(8, 4, 20, "mean")
    transient_rate: float = assumed(0.003, 0.001, 0.006, "syncs that fail once for no lasting reason")
    latency_ms: float = cited(800, 400, 1200, "CrewFlow PRD 2.2: usually 0.8 s; the range is assumed")
    records_per_employee: float = assumed(2, 1, 4, "on a working day, a median: a time card or two, some changed")
    records_sigma: float = assumed(0.5, 0.3, 0.7, "spread of its logarithm")
    polling_calls_median: float = assumed(14, 8, 24, "calls that a sync makes before its first record")
    polling_calls_sigma: float = assumed(0.6, 0.4, 0.8, "spread of the logarithm")
    calls_per_record: float = assumed(1.3, 1, 2, "a write, and now and then a look-up")
    patience_minutes: float = assumed(5, 3, 8, "for which a throttled sync tries on before it gives up")
    own_concurrency: float = assumed(2, 1, 4, "calls that our client keeps in flight")
    other_apps_share: float = assumed(0.6, 0.4, 0.8, "customers with other apps on a shared limit")
    other_load: float = assumed(0.25, 0.1, 0.4, "median share of the limit that they use in working hours")
    bursts_per_week: float = assumed(1.5, 0.7, 3, "imports and reports of the other apps")
    burst_minutes: float = assumed(40, 20, 80, "median length of a burst")
    burst_intensity: float = assumed(0.95, 0.8, 1.1, "mean load of a burst as a share of the limit")
    nightly_share: float = assumed(0.25, 0.1, 0.4, "customers whose other apps run a job at a fixed hour each night")
    revocations_per_year: float = assumed(1.5, 0.7, 3, "grants that someone's new password or role ends")
    rigid_token_share: float = assumed(0.12, 0.05, 0.25, "grants that are not renewed and end after their life")
    bad_record_rate: float = assumed(0.00015, 0.00005, 0.00025, "records that the other side refuses until mended")
    notice_hours: float = assumed(5, 2.5, 7.5, "median working hours until someone acts unasked")
    asked_hours: float = assumed(1, 0.4, 2.5, "median working hours until someone acts who is asked")
    heed_share: float = assumed(0.85, 0.7, 0.95, "asks that are heeded at all")


DEFAULTS = SyncParameters()
