"""Delivering what is due: claim, send, and write down what came of it, one command at a time."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from crewflow_assets import clock
from crewflow_assets.outbox import queue
from crewflow_assets.outbox.queue import RefusalHandler
from crewflow_assets.outbox.webhook import Answer, Verdict, WebhookClient
from crewflow_assets.store.tables import OutboxCommand

FAILURES_IN_A_ROW = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What one round did, and what it leaves.

    ``waiting`` counts all pending commands. ``problems`` are for a person: a receiver that is not where or
    what the settings say, and refusals that could not be carried out. ``pause`` is how long the receiver
    asked to be left alone.
    """

    delivered: int = 0
    refused: int = 0
    retried: int = 0
    waiting: int = 0
    problems: tuple[str, ...] = ()
    pause: timedelta = timedelta(0)

    @property
    def handled(self) -> int:
        """How many commands were sent, whatever came of them."""
        return self.delivered + self.refused + self.retried


def deliver_due(
    client: WebhookClient,
    *,
    on_refused: Mapping[str, RefusalHandler],
    limit: int = 100,
    stop: Callable[[], bool] = lambda: False,
) -> DeliveryReport:
    """Send the commands that are due now, at most ``limit``, each once.

    The round ends early after three failures in a row, since the receiver is then probably down, or when the
    receiver asks to be left alone (Retry-After); the commands not tried stay due.

    Args:
        client: The receiver.
        on_refused: By command name, what re-opens the decision when the receiver refuses the command. It runs
            in the transaction that marks the command refused; if it raises, the command stays pending.
        limit: The largest number of commands to send.
        stop: Asked before each command; True ends the round.
    """
    started = clock.now()
    counts: Counter[str] = Counter()
    problems: dict[str, None] = {}
    pause = timedelta(0)
    failures = 0
    while counts.total() < limit and failures < FAILURES_IN_A_ROW and not pause and not stop():
        command = queue.claim(due_by=started)
        if command is None:
            break
        answer = client.send(command)
        outcome, problem = _settle(command, answer, on_refused)
        counts[outcome] += 1
        if problem:
            problems[problem] = None
        if answer.verdict in {Verdict.LATER, Verdict.MISCONFIGURED}:
            failures += 1
            pause = answer.retry_after or timedelta(0)
        else:
            failures = 0
    return DeliveryReport(
        delivered=counts["delivered"],
        refused=counts["refused"],
        retried=counts["retried"],
        waiting=queue.waiting(),
        problems=tuple(problems),
        pause=pause,
    )


def _settle(
    command: OutboxCommand, answer: Answer, on_refused: Mapping[str, RefusalHandler]
) -> tuple[str, str | None]:
    """Write down what came of a command; returns how it counts, and what a person should know."""
    problem: str | None = None
    if answer.verdict is Verdict.DELIVERED:
        _note_loss(command, held=queue.mark_delivered(command))
        return "delivered", None
    if answer.verdict is Verdict.REFUSED:
        problem = _refuse(command, answer.reason, on_refused)
        if problem is None:
            return "refused", None
    elif answer.verdict is Verdict.MISCONFIGURED:
        problem = f"the receiver answers {answer.reason}; check CREWFLOW_WEBHOOK_URL and CREWFLOW_WEBHOOK_SECRET"
    if answer.retry_after is None:
        delay = queue.backoff(command.attempts)
    else:
        delay = max(answer.retry_after, queue.SHORTEST_BACKOFF)
    error = problem or answer.reason
    _note_loss(command, held=queue.postpone(command, error, delay))
    log.warning(
        "command %s waits %.0f s after attempt %d: %s",
        command.idempotency_key,
        delay.total_seconds(),
        command.attempts,
        error,
    )
    return "retried", problem


def _refuse(command: OutboxCommand, reason: str, on_refused: Mapping[str, RefusalHandler]) -> str | None:
    """Mark the command refused and re-open its decision; returns why that was not possible, or None."""
    handler = on_refused.get(command.command)
    if handler is None:
        return f"{reason}; no refusal handler is registered for commands {command.command!r}"
    try:
        _note_loss(command, held=queue.mark_refused(command, reason, handler))
    except Exception as error:
        log.exception("the refusal of command %s could not be carried out", command.idempotency_key)
        return f"{reason}; re-opening what it decided failed with {type(error).__name__}"
    return None


def _note_loss(command: OutboxCommand, *, held: bool) -> None:
    if not held:
        log.warning("command %s was settled by another worker meanwhile", command.idempotency_key)
