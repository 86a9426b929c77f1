"""The environment of an installation: ``CREWFLOW_*`` variables, read once."""

import os
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "CREWFLOW_"
DATABASES = ("sqlite:///", "postgres://", "postgresql://", "postgresql+psycopg://")


class Settings(BaseSettings):
    """All settings with their defaults; each is documented in ``docs/operations.md``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )  # what is wrong with a variable is said, and not what it holds: that may be a password

    home: Path = Field(Path("var"), description="Folder of all state: database, lake, MLflow, Dagster.")
    database_url: str = Field(
        "",
        description="URL of the operational database; empty means SQLite under the home folder.",
    )
    database_seconds: Annotated[float, Field(ge=0.1, le=3600)] | None = Field(
        None, description="Seconds after which a statement on PostgreSQL is given up; none: never."
    )
    scale: Literal["demo", "full"] = Field(
        "demo", description="How large the simulated world is that fills an empty installation."
    )
    seed: int = Field(7, description="Seed of the simulated world and of training.")
    encoder: str = Field(
        "", description="Folder or hub name of the BERT checkpoint; empty means the packaged MiniLM."
    )
    encoder_cache: str = Field(
        "", description="Folder that keeps exported encoders; empty means `encoder` under the home folder."
    )
    encoder_threads: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Threads of one encoding; one serves many clients best."
    )
    withheld_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.05,
        description="Share of automatic decisions that go blind to a person instead.",
    )
    alerts_per_day: Annotated[int, Field(ge=0, le=10_000)] = Field(
        10, description="Alerts that people of one company are told within 24 hours; more wait for the next day."
    )
    retry_success_value: Annotated[float, Field(gt=0, le=1e6)] = Field(
        1.0, description="What a failed call is worth that a retry mends; the costs below are relative to it."
    )
    retry_call_cost: Annotated[float, Field(ge=0, le=1e6)] = Field(0.02, description="Cost of one retry.")
    retry_waiting_cost: Annotated[float, Field(ge=0, le=1e6)] = Field(
        0.02, description="Cost of an hour that a failed call waits."
    )
    retry_giving_up_cost: Annotated[float, Field(ge=0, le=1e6)] = Field(
        0.3, description="Cost of a failed call that is given up, so that a person or the next sync takes it up."
    )
    retry_deadline_hours: Annotated[float, Field(gt=0, le=1e4)] | None = Field(
        None,
        description="Hours since a call's first failure after which its success is worth no more than giving it up.",
    )
    retry_exploration: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.05, description="Share of retry plans whose delay is drawn, so that new plans can be judged on them."
    )
    conflict_events_kept: Annotated[int, Field(ge=1)] = Field(
        500_000,
        description="Events of conflicts whose histories a worker keeps, of all companies together: hundreds of MiB.",
    )
    gateway_port: Annotated[int, Field(ge=1, le=65535)] = Field(3100, description="Port of the HTTP gateway.")
    gateway_workers: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Processes of a service that answer requests; each loads the models."
    )
    gateway_requests_per_connection: Annotated[int, Field(ge=1)] = Field(
        1_000,
        description="After about so many requests a kept-alive connection ends, where there are several workers.",
    )
    dagster_port: Annotated[int, Field(ge=1, le=65535)] = Field(3000, description="Port of the Dagster UI.")
    mlflow_port: Annotated[int, Field(ge=1, le=65535)] = Field(5000, description="Port of the MLflow UI.")
    webhook_url: str = Field("", description="Where the outbox sends commands; empty keeps them waiting.")
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="Signing secret of the webhook, in the form whsec_<base64>."
    )
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        8 * 1024 * 1024, description="Largest request body that the gateway reads; larger gets 413."
    )
    requests_per_minute: Annotated[int, Field(ge=1)] = Field(
        60_000, description="Requests that one API key may make a minute in one worker; more get 429."
    )

    @field_validator("database_url")
    @classmethod
    def _is_of_a_known_database(cls, url: str) -> str:
        if url and not url.startswith(DATABASES):  # whatever is no scheme may be a password
            scheme, is_url, _ = url.partition("://")
            found = (
                f"begins with {scheme[:20]!r}"
                if is_url and scheme.replace("+", "_").isidentifier()
                else "has no scheme"
            )
            raise ValueError(f"{found}; give one of {', '.join(DATABASES)}")
        return url

    @cached_property
    def root(self) -> Path:
        """The home folder as an absolute path."""
        return self.home.expanduser().resolve()

    @cached_property
    def sqlalchemy_url(self) -> str:
        """The database URL in force; PostgreSQL URLs are given the psycopg driver."""
        if not self.database_url:
            return f"sqlite:///{self.root / 'crewflow.db'}"
        for scheme in ("postgres://", "postgresql://"):
            if self.database_url.startswith(scheme):
                return "postgresql+psycopg://" + self.database_url.removeprefix(scheme)
        return self.database_url


def unknown_settings() -> list[str]:
    """Return a sentence about each variable of the environment that looks like a setting and is none."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    found = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    return [
        f"{name} is no setting{''.join(f', nearest is {near}' for near in get_close_matches(name, known, n=1))}; "
        "docs/operations.md lists them"
        for name in found
    ]


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings, read from the environment at the first call."""
    return Settings()
