"""The kinds of work that delivery asks workers for; both sides of the queue name them from here."""

from headrace.delivery.experiment_nouns import Measured, MeasureRequest
from headrace.delivery.nouns import (
    GatesRequest,
    GatesResult,
    StagingRequest,
    StagingResult,
    TrainRequest,
    TrainResult,
)
from headrace.delivery.paired_nouns import PairedRequest, PairedResult
from headrace.kernel.jobs import JobKind

ATTEMPTS = 8
"""With the queue's back-off about two minutes of patience: gateways load, sources are read."""

GATES = JobKind(name="delivery.gates", payload=GatesRequest, result=GatesResult, max_attempts=ATTEMPTS)
STAGING = JobKind(name="delivery.staging", payload=StagingRequest, result=StagingResult, max_attempts=ATTEMPTS)
MEASURE = JobKind(name="delivery.measure_rewards", payload=MeasureRequest, result=Measured, lease_s=60.0)
TRAIN = JobKind(name="delivery.train", payload=TrainRequest, result=TrainResult, max_attempts=ATTEMPTS)
COMPARE: JobKind[PairedRequest, PairedResult] = JobKind(
    name="delivery.compare_losses", payload=PairedRequest, result=PairedResult, lease_s=60.0
)
"""Compare two versions by what became of the requests that both answered; asked for again and again."""
