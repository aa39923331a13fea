"""How control is put together: every room's routes, authorizations, settlements, subscribers and background looks.

Control-side only: nothing here may reach the engines that workers and gateways use.
"""

from headrace.delivery import approvers, canary, deadlines, experiments, paired, settling
from headrace.delivery import routes as delivery_routes
from headrace.features import routes as features_routes
from headrace.features import settling as features_settling
from headrace.features import sources
from headrace.governance import routes as governance_routes
from headrace.kernel.access import Role
from headrace.kernel.jobs import Handling
from headrace.kernel.subscriptions import Subscriber
from headrace.monitoring import routes as monitoring_routes
from headrace.monitoring import windows
from headrace.protocols.mlflow import import_routes as mlflow_import_routes
from headrace.protocols.mlflow import routes as mlflow_routes
from headrace.registry import approval_routes, approvals
from headrace.registry import jobs as registry_jobs
from headrace.registry import routes as registry_routes
from headrace.server import access_routes, approval_pages, blob_routes, platform_routes, run_page, status_page
from headrace.server.authorization import compose
from headrace.server.loops import Look
from headrace.serving import (
    feedback,
    feedback_routes,
    loading_routes,
    preparing,
    query_routes,
    querying,
    reports,
    retention,
    retention_routes,
)
from headrace.serving import jobs as serving_jobs
from headrace.serving import routes as serving_routes
from headrace.tracking import import_routes as tracking_import_routes
from headrace.tracking import jobs as tracking_jobs
from headrace.tracking import purge_routes
from headrace.tracking import routes as tracking_routes
from headrace.training import routes as training_routes

DOORS = (
    platform_routes,
    access_routes,
    blob_routes,
    run_page,
    status_page,
    approval_pages,
    tracking_routes,
    tracking_import_routes,
    purge_routes,
    registry_routes,
    approval_routes,
    features_routes,
    training_routes,
    serving_routes,
    loading_routes,
    feedback_routes,
    query_routes,
    retention_routes,
    monitoring_routes,
    delivery_routes,
    governance_routes,
    mlflow_routes,
    mlflow_import_routes,
)
"""Every module with an HTTP door."""

HANDLERS = [handler for door in DOORS for handler in door.HANDLERS]

HANDLINGS: tuple[Handling, ...] = (
    *tracking_jobs.HANDLINGS,
    *registry_jobs.HANDLINGS,
    *features_settling.HANDLINGS,
    *serving_jobs.HANDLINGS,
    *preparing.HANDLINGS,
    *feedback.HANDLINGS,
    *querying.HANDLINGS,
    *retention.HANDLINGS,
    *windows.HANDLINGS,
    *settling.HANDLINGS,
)
"""What control does with the results of workers."""

SUBSCRIBERS: tuple[Subscriber, ...] = (
    *approvals.SUBSCRIBERS,
    *registry_jobs.SUBSCRIBERS,
    *features_settling.SUBSCRIBERS,
    *preparing.SUBSCRIBERS,
    *windows.SUBSCRIBERS,
    *settling.SUBSCRIBERS,
)
"""Who hears of which events."""

LOOKS: tuple[Look, ...] = (
    Look("canary verdicts", 0.25, canary.is_needed, canary.evaluate_open),
    Look("rewards of releases", 1.0, experiments.is_due, experiments.ask),
    Look("outcomes of shadows", 5.0, paired.is_due, paired.ask),
    Look("approval deadlines", 0.25, deadlines.are_due, deadlines.lapse),
    Look("approval reminders", 5.0, approvers.are_due, approvers.remind),
    Look("prediction logs", 60.0, serving_jobs.compaction_is_due, serving_jobs.ask_for_compactions),
    Look("feedback", 1.0, feedback.join_is_due, feedback.ask_for_join),
    Look("units of releases", 600.0, reports.units_are_stale, reports.forget_units),
    Look("retention", 60.0, retention.is_due, retention.ask),
    Look("feature refresh", 30.0, sources.is_stale, sources.request_all),
)
"""The rooms' background work."""


def authorization() -> dict[str, Role | None]:
    """The one table of routes and roles."""
    return compose(door.AUTHORIZATION for door in DOORS)
