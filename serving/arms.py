"""Which arm of a running experiment answers a request: read from the database beside the registry's aliases."""

import logging
from collections.abc import Callable, Iterable, Sequence

from crewflow_assets.contract import PredictionRequest
from crewflow_assets.experiments.ledger import Arm, Assignment, running
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.database import reading
from serving.predictors import Predictors

logger = logging.getLogger("crewflow.serving")


def read_running() -> Sequence[Assignment]:
    """Return the experiments that run now."""
    with reading() as session:
        return running(session)


def _versions(assignment: Assignment | None) -> set[str]:
    return {arm.version for arm in assignment.arms} if assignment else set()


class Arms:
    """The running experiments of the models served here; safe to read from any thread while ``refresh`` swaps them.

    An experiment is taken up once every version of it is loaded, and its versions are let go of one refresh after it
    was left, so no request waits for one or fails for want of it.
    While the database is away, those known last go on.
    """

    def __init__(
        self,
        specs: Iterable[ModelSpec],
        predictors: Predictors,
        read: Callable[[], Sequence[Assignment]] = read_running,
    ) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._predictors = predictors
        self._read = read
        self._by_model: dict[str, Assignment] = {}
        self._told: str | None = None

    def of(self, spec: ModelSpec, request: PredictionRequest) -> Arm | None:
        """Return the arm that answers, or None outside of experiments: without a company, or with a ``version``."""
        assignment = self._by_model.get(spec.name)
        if assignment is None or request.company_id is None or "version" in request.model_fields_set:
            return None
        return assignment.arm(request.company_id)

    def refresh(self) -> bool:
        """Take up what runs now and leave what has ended; answer whether anything was loaded; never raises."""
        try:
            found = {one.model: one for one in self._read() if one.model in self._specs}
        except Exception as error:  # noqa: BLE001  # whatever the database throws, serving goes on
            self._tell(f"the running experiments cannot be read ({type(error).__name__})", error)
            return False
        changed, problem, failure = False, None, None
        for name, spec in self._specs.items():
            assignment, former = found.get(name), self._by_model.get(name)
            try:
                self._predictors.hold(spec, _versions(assignment) | _versions(former))
            except Exception as error:  # noqa: BLE001  # the registry may throw anything; it is tried again
                assignment, problem, failure = None, f"the arms of {name}'s experiment cannot be loaded", error
            if assignment == former:
                continue
            kept = {model: one for model, one in self._by_model.items() if model != name}
            self._by_model = kept | ({name: assignment} if assignment else {})
            if assignment:
                changed = True
                logger.info("%s is in the experiment %s now", name, assignment.experiment)
        self._tell(problem, failure)
        return changed

    def _tell(self, problem: str | None, error: Exception | None) -> None:
        """Log a problem when it begins, not at every poll."""
        if problem is not None and problem != self._told:
            logger.warning("%s; trying again", problem, exc_info=error)
        self._told = problem
