"""The kinds of work that monitoring asks workers for."""

from headrace.kernel.jobs import JobKind
from headrace.monitoring.nouns import Delivered, Notification, WindowRequest, WindowResult

WINDOW: JobKind[WindowRequest, WindowResult] = JobKind(
    name="monitoring.window", payload=WindowRequest, result=WindowResult, lease_s=60.0, max_attempts=12
)
"""Look at one window. It may have to wait for segments and sources, so it is tried for some minutes."""

NOTIFY: JobKind[Notification, Delivered] = JobKind(
    name="monitoring.notify", payload=Notification, result=Delivered, max_attempts=8
)
"""Deliver one message to one channel."""
