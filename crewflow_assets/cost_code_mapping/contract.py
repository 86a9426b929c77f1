"""Request and answer of cost-code mapping."""

from typing import Annotated, Literal

from pydantic import Field

from crewflow_assets.contract import (
    NUMBER,
    Contract,
    Identifier,
    Name,
    PredictionRequest,
    PredictionResponse,
    Probability,
    System,
    Text,
)

Kind = Literal["cost_code", "project"]
Method = Literal["person", "memory", "model", "ask"]

MOST_ACCOUNTS = 100_000


class TargetAccount(Contract):
    """An account of the customer's chart; ``code`` is its number or, without one, its full name."""

    code: Name = Field(examples=["50100"])
    name: Name = Field(examples=["Electrical Labor"])
    type: Text | None = Field(None, examples=["Cost of Goods Sold"])
    parent: Text | None = Field(None, examples=["Job Expenses"])


class MappingRequest(PredictionRequest):
    """Which account does this cost code, or project, belong to?"""

    kind: Kind = Field("cost_code", description="What is mapped.")
    crewflow_cost_code: Identifier = Field(examples=["ELEC-105"])
    cost_code_name: Name = Field(examples=["Rough Electrical"])
    cost_code_description: Text | None = None
    cost_code_group: Text | None = Field(None, description="The heading under which the code stands in its list.")
    crewflow_project_type: Text | None = Field(None, examples=["commercial"])
    company_industry: Name = Field(examples=["electrical"])
    target_system: System
    target_accounts: Annotated[list[TargetAccount], Field(min_length=1, max_length=MOST_ACCOUNTS)] | None = Field(
        None, description="The candidates; without them, the company's stored chart of that system."
    )
    top_k: Annotated[int, Field(ge=1, le=50), NUMBER] = 5

    @property
    def gathers(self) -> bool:
        """Only requests that are answered from the company's stored chart have their candidates in common."""
        return super().gathers and self.target_accounts is None

    @property
    def gathers_with(self) -> str | None:
        """Those of the same company, which has one chart."""
        return self.company_id


class Suggestion(Contract):
    """A candidate account with the calibrated probability that it is right, and why."""

    target_code: str = Field(examples=["50100"])
    target_name: str = Field(examples=["Electrical Labor"])
    confidence: Probability = Field(examples=[0.95])
    reason: str = Field(examples=["Similar to 12 other electrical codes you mapped to 50100"])
    auto_map: bool = Field(description="True where the confidence keeps automatic mappings at least 95 % right.")


class MappingResponse(PredictionResponse):
    """Suggestions, best first."""

    suggestions: list[Suggestion]
    method: Method = Field(
        description="person: decided already; memory: the same name was; model: sure enough; ask: a person decides."
    )
    withheld: bool = Field(
        False,
        description="Automatic mapping was held back on purpose: show the item to a person without suggestions.",
    )

    @property
    def automatic(self) -> bool:
        """Whether the first suggestion may be mapped without asking a person."""
        return any(suggestion.auto_map for suggestion in self.suggestions)
