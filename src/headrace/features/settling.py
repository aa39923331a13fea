"""What control does for the feature store: results of its jobs, and the events that it listens to."""

from headrace.features import sources, views
from headrace.features.kinds import INGEST, MATERIALIZE
from headrace.kernel.jobs import Handling
from headrace.kernel.subscriptions import Subscriber

HANDLINGS = (
    Handling(INGEST, sources.settle, sources.failed),
    Handling(MATERIALIZE, views.settle, views.failed),
)

SUBSCRIBERS = (Subscriber("features.clock", ("kernel.clock_moved",), sources.on_clock_moved),)
