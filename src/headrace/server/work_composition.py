"""Which runner does which kind of job: the rooms' work, as a worker process is put together."""

from typing import Any

from headrace.delivery import gates, measuring, pairing, pipeline, staging
from headrace.delivery.kinds import COMPARE, GATES, MEASURE, STAGING, TRAIN
from headrace.features.ingest import run_ingest
from headrace.features.kinds import INGEST, MATERIALIZE
from headrace.features.materialize import run_materialize
from headrace.kernel.jobs import JobKind
from headrace.kernel.work import Runner
from headrace.monitoring.jobs import NOTIFY, WINDOW
from headrace.monitoring.notify import run_notification
from headrace.monitoring.observe import run_window
from headrace.registry.jobs import READ_FILES
from headrace.registry.reading import run_reading
from headrace.serving.feedback import JOIN
from headrace.serving.jobs import COMPACT
from headrace.serving.loading.preparation import run_preparation
from headrace.serving.log.compaction import run_compaction
from headrace.serving.log.feedback_join import run_join
from headrace.serving.log.prediction_sql import run_query
from headrace.serving.log.removing import run_removal as run_row_removal
from headrace.serving.preparing import PREPARE
from headrace.serving.querying import QUERY
from headrace.serving.retention import REMOVE
from headrace.tracking.jobs import REMOVE_FILES
from headrace.tracking.removing import run_removal

RUNNERS: tuple[tuple[JobKind[Any, Any], Runner], ...] = (
    (INGEST, run_ingest),
    (MATERIALIZE, run_materialize),
    (TRAIN, pipeline.run),
    (GATES, gates.run),
    (STAGING, staging.run),
    (COMPARE, pairing.run),
    (MEASURE, measuring.run_measuring),
    (COMPACT, run_compaction),
    (JOIN, run_join),
    (QUERY, run_query),
    (REMOVE, run_row_removal),
    (PREPARE, run_preparation),
    (WINDOW, run_window),
    (NOTIFY, run_notification),
    (REMOVE_FILES, run_removal),
    (READ_FILES, run_reading),
)
"""Every kind of job with what does it."""
