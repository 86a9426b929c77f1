"""The parameters of the mapping world: each cited, or an assumption with its range.

A figure about the platform that comes from the twin is stated over many draws from the ranges, not at the defaults.
"""

from dataclasses import dataclass

from crewflow_assets.twin.notes import assumed, cited

WINDOW_DAYS = 548
"""Length of the history: 18 months, in days."""


@dataclass(frozen=True, slots=True)
class TwinParameters:
    """What the simulated world of mappings is made of. Shares and rates are in [0, 1] unless a unit is named."""

    employees_median: float = cited(
        30,
        15,
        60,
        "Census 2012 (CPWR Chart Book): 91 % of construction establishments under 20; buyers are assumed larger",
    )
    employees_sigma: float = assumed(0.9, 0.7, 1.2, "spread of the logarithm of a customer's employees")
    codes_median: float = cited(
        115,
        80,
        170,
        "CrewFlow PRD 2.1: 200+ codes; public lists hold 65 to 391; time-tracking lists are assumed shorter",
    )
    codes_sigma: float = assumed(0.45, 0.3, 0.6, "spread of the logarithm of a list's length")
    quickbooks_share: float = assumed(0.7, 0.5, 0.85, "QuickBooks leads among small US contractors")
    sage_share_of_rest: float = assumed(0.6, 0.4, 0.8, "Sage before Xero in US construction")
    account_numbers_share: float = assumed(0.6, 0.4, 0.8, "numbers are off by default in QuickBooks")
    weight_by_trade: float = assumed(0.2, 0.1, 0.3, "charts with an account a trade")
    weight_by_cost_type: float = assumed(0.24, 0.15, 0.35, "the advice of most construction accountants")
    weight_trade_by_cost_type: float = assumed(0.16, 0.08, 0.25, "larger contractors")
    weight_by_phase: float = assumed(0.1, 0.04, 0.16, "home builders above all")
    weight_few_accounts: float = assumed(0.1, 0.04, 0.16, "job costing lives in the items, not in the ledger")
    weight_mixed: float = assumed(0.2, 0.1, 0.3, "labor in one account, subcontractors by trade, and the like")
    typed_codes_share: float = assumed(0.35, 0.2, 0.5, "lists with a code for each cost type")
    labor_only_share: float = assumed(0.12, 0.05, 0.25, "lists made for time cards alone")
    service_share: float = assumed(0.35, 0.2, 0.5, "companies with a service department that keep its costs apart")
    described_share: float = assumed(0.3, 0.15, 0.5, "companies that fill in descriptions")
    typo_rate: float = assumed(0.012, 0.004, 0.03, "a name in a list holds a misspelling; public lists show them")
    house_rules_mean: float = assumed(5, 3, 8, "habits of a company that cross its own convention, a number")
    odd_share: float = assumed(0.015, 0.005, 0.04, "codes that stand in an account nobody can explain")
    mistake_rate: float = cited(
        0.04,
        0.02,
        0.06,
        "Panko (panko.com/HumanErr/SimpleNontrivial.html): 1-5 % of such actions; range assumed a little higher",
    )
    haste_share: float = cited(
        0.4,
        0.2,
        0.6,
        "Goddard et al. 2012 (doi 10.1136/amiajnl-2011-000089): wrong advice is followed; the range is assumed",
    )
    late_fix_share: float = assumed(0.35, 0.15, 0.55, "mistakes found at month end or by the accountant")
    fix_delay_days: float = assumed(24, 10, 45, "median days until a mistake is found: about one close of the books")
    suggestion_threshold: float = assumed(60, 50, 75, "least similarity, of 100, that the old system suggested at")
    unmapped_share: float = assumed(0.04, 0.01, 0.08, "codes that nobody ever maps")
    late_share: float = assumed(0.25, 0.12, 0.4, "codes that come up only when later projects start")
    recent_share: float = assumed(0.15, 0.08, 0.25, "companies in the midst of onboarding at the end")
    burst_days: float = assumed(12, 5, 25, "working days over which the first codes are mapped, median")
    seconds_per_decision: float = assumed(22, 8, 60, "median seconds between two decisions in one sitting")


DEFAULTS = TwinParameters()
