"""Whether a trigger asks for training: a pure decision, and the reading of what it decides from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from crewflow_assets.spec import Counted, EventTrigger, ModelSpec
from crewflow_assets.training.claims import last_done


@dataclass(frozen=True, slots=True)
class Trained:
    """The last training of a model: its version, and the moment before which all its data happened."""

    version: str
    data_until: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trigger asks for training, and the sentence that its tick shows."""

    fire: bool
    said: str


def judge(
    trigger: EventTrigger, now: datetime, counts: Mapping[str, int] | Mapping[str, Counted], last: Trained
) -> Verdict:
    """Decide whether to retrain, from the moment, the counts by group and the last training alone."""
    noun = trigger.noun or trigger.reason
    measured = {
        group: count if isinstance(count, Counted) else Counted(count, trigger.more_than)
        for group, count in counts.items()
    }
    if not any(count.number for count in measured.values()):
        since = max(last.data_until, window_begin(trigger, now))
        return Verdict(False, f"no {noun} since {since:%Y-%m-%d %H:%M} (version {last.version})")
    group, most = max(measured.items(), key=lambda item: (item[1].number - item[1].limit, item[0]))
    said = f"{most.number} {noun} of {group} since version {last.version}; more than {most.limit:g} retrain"
    return Verdict(most.number > most.limit, said)


def window_begin(trigger: EventTrigger, now: datetime) -> datetime:
    """Return the moment from which on a trigger's events count."""
    return now - timedelta(days=trigger.window_days)


def last_training(session: Session, spec: ModelSpec) -> Trained | None:
    """Return the last training that ended well, or None; of models trained before claims, the registry tells.

    Not the champion's: a candidate that was not good enough was trained on these events all the same, and
    training on them again would give it again.
    """
    done = last_done(session, spec.name)
    if done is not None and done.version is not None and done.data_until is not None:
        return Trained(done.version, done.data_until)
    from crewflow_assets import registry

    versions = [v for v in registry.describe(spec) if v.tags[registry.ROLE] == "candidate"]
    if not versions:
        return None
    newest = max(versions, key=lambda version: version.data_until)
    return Trained(newest.label, newest.data_until)
