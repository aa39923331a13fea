"""What workers run for delivery. Work-side."""

from headrace.delivery import gates, pipeline, staging
from headrace.delivery.kinds import GATES, STAGING, TRAIN

RUNNERS = [(GATES, gates.run), (STAGING, staging.run), (TRAIN, pipeline.run)]
"""Each kind of job with what does it."""
