"""``crewflow deliver``: the one worker that sends what the outbox holds."""

import logging
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Annotated

import typer
from sqlalchemy.exc import OperationalError

from crewflow_assets.outbox import queue
from crewflow_assets.outbox.delivery import DeliveryReport, deliver_due
from crewflow_assets.outbox.queue import RefusalHandler
from crewflow_assets.outbox.webhook import WebhookClient
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import transaction
from pipelines.cli.options import said

BATCH = 100
NAP_SECONDS = 0.2

log = logging.getLogger(__name__)


class _Stop:
    """Whether SIGTERM or Ctrl-C came; a second one ends the process at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def sleep(self, seconds: float) -> None:
        """Sleep, but wake up soon after a signal."""
        deadline = time.perf_counter() + seconds
        while not self.asked and (left := deadline - time.perf_counter()) > 0:
            time.sleep(min(NAP_SECONDS, left))


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    stop = _Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.asked = True
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refusal_handlers() -> Mapping[str, RefusalHandler]:
    # Loaded only when something is sent: the models' code is not needed to say that nothing is configured.
    handlers: Mapping[str, RefusalHandler] = import_module("crewflow_assets.handlers").REFUSAL_HANDLERS
    return handlers


def _print(report: DeliveryReport) -> None:
    typer.echo(
        f"delivered {report.delivered}, refused {report.refused}, to be retried {report.retried}; "
        f"{report.waiting} waiting"
    )
    for problem in report.problems:
        typer.echo(f"problem: {problem}", err=True)


def _drain(client: WebhookClient, handlers: Mapping[str, RefusalHandler], stop: _Stop) -> DeliveryReport:
    """Send all that is due, batch by batch, and print what came of it; returns the last batch's report."""
    while True:
        report = deliver_due(client, on_refused=handlers, limit=BATCH, stop=stop)
        if report.handled:
            _print(report)
        if report.handled < BATCH or report.pause or stop():
            return report


def _watch(client: WebhookClient, handlers: Mapping[str, RefusalHandler], poll: float, stop: _Stop) -> None:
    report = _drain(client, handlers, stop)
    while not stop():
        stop.sleep(max(poll, report.pause.total_seconds()))
        try:
            report = _drain(client, handlers, stop)
        except OperationalError as error:
            log.warning("the database does not answer, trying again in %.0f s: %s", poll, error)
            report = DeliveryReport()


def deliver(
    watch: Annotated[
        bool, typer.Option("--watch/--once", help="Keep sending until stopped, or send what is due and end.")
    ] = False,
    poll: Annotated[float, typer.Option(min=0.1, help="With --watch: seconds between looks.")] = 5.0,
    give_up: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="End this pending command as refused; the decision behind it is re-opened."),
    ] = None,
    reason: Annotated[str, typer.Option(help="With --give-up: why.", callback=said)] = "given up by an operator",
) -> None:
    """Send the outbox's commands to CREWFLOW_WEBHOOK_URL, in order for each record.

    A command that cannot be delivered waits and is tried again, every hour at the latest. One that the
    receiver refuses re-opens the decision behind it. docs/webhooks.md is the contract for receivers.

    \b
    Examples:
      crewflow deliver            send what is due now, and end
      crewflow deliver --watch    keep sending until Ctrl-C or SIGTERM
      crewflow deliver --give-up cmd_1f… --reason "integration removed"
    """
    if give_up is not None:
        with transaction() as session:
            ended = queue.give_up(session, give_up, reason, _refusal_handlers())
        typer.echo(f"{ended.idempotency_key} ({ended.command} for {ended.record_key}) is ended: {reason}")
        return
    with _stop_on_signals() as stop:
        if not get_settings().webhook_url:
            typer.echo(f"{queue.waiting()} commands wait: set CREWFLOW_WEBHOOK_URL to where they should go")
            while watch and not stop():
                stop.sleep(poll)
            return
        with WebhookClient.from_settings() as client:
            handlers = _refusal_handlers()
            if watch:
                typer.echo("delivering; Ctrl-C ends it")
                _watch(client, handlers, poll, stop)
            elif not _drain(client, handlers, stop).handled:
                typer.echo(f"nothing is due; {queue.waiting()} waiting")
