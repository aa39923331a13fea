"""Every error that Headrace raises on purpose, so that a caller can tell what went wrong and what to do.

HeadraceError
├── InvalidInput            400  what was sent cannot be used
│   ├── ProjectError        400  a project file has an error; names file and line
│   └── SchemaMismatch      400  data do not fit the declared or recorded schema
├── NotAuthenticated        401
├── PermissionRefused       403  the principal's role does not allow it
│   └── PolicyRefused       403  a policy forbids it, whoever asks (four eyes, evidence missing)
│       └── ApprovalNeeded  403  others have to approve it first; says where their request stands
├── NotFound                404
├── AlreadyExists           409
├── Conflict                409  the state has moved on
│   ├── LeaseLost           409  another worker holds the job now
│   ├── LabelsNotMature     409  outcomes are not yet known at the business clock
│   ├── EnvironmentMismatch 409  the bundle was locked to other packages
│   └── Pinned              409  something still needs what was to be deleted
├── BodyTimeout             408  the body of a request did not come
├── TooLarge                413
├── NotServed               501  a part of a foreign protocol that is not served
│   └── MissingExtra        501  an optional dependency is not installed
├── Unavailable             503  try again later
│   └── Overloaded          503  more is asked for than can be answered in time
├── DeadlineExceeded        504  the time that the request had is over
├── InternalError           500  ours: a defect
│   ├── ModelFault          500  the model raised or answered nonsense
│   ├── UserCodeError       500  a user's function raised
│   └── AuditBroken         500  the audit trail does not verify
└── StartError              500  a process cannot start
    ├── HomeLocked          500  another platform runs on this home
    └── PortInUse           500
"""

from collections.abc import Callable
from typing import Any, ClassVar


class HeadraceError(Exception):
    """An error with a stable code, an HTTP status, a place and a remedy.

    Args:
        message: what went wrong, one sentence, without secrets or input data.
        where: the field, path, file:line or object that it went wrong at.
        fix: what the reader can do about it.
    """

    code: ClassVar[str] = "HEADRACE_ERROR"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.where, self.fix)


def _rebuild(kind: type[HeadraceError], message: str, where: str | None, fix: str | None) -> HeadraceError:
    return kind(message, where=where, fix=fix)


class InvalidInput(HeadraceError):
    """What was sent cannot be used as it is."""

    code = "INVALID_INPUT"
    status = 400


class ProjectError(InvalidInput):
    """A project file has an error; `where` holds file and line."""

    code = "PROJECT_ERROR"


class SchemaMismatch(InvalidInput):
    """Data do not fit the schema that was declared or recorded."""

    code = "SCHEMA_MISMATCH"


class NotAuthenticated(HeadraceError):
    """The request carries no valid token."""

    code = "NOT_AUTHENTICATED"
    status = 401


class PermissionRefused(HeadraceError):
    """The principal's role does not allow the action.

    Attributes:
        aftermath: what whoever opened the transaction does in another one, once that of the attempt was rolled
            back: keep the attempt in the audit trail, or ask for what was missing. It is given that transaction
            and the address under which the platform was called, and returns the error to answer with.
    """

    code = "PERMISSION_REFUSED"
    status = 403
    aftermath: "Callable[[Any, str], HeadraceError] | None" = None


class PolicyRefused(PermissionRefused):
    """A policy forbids the action whoever asks: four eyes, missing evidence."""

    code = "POLICY_REFUSED"


class ApprovalNeeded(PolicyRefused):
    """A policy asks for approvals that are not there; the same call works once they are."""

    code = "APPROVAL_NEEDED"


class NotFound(HeadraceError):
    """The named object does not exist in this workspace."""

    code = "NOT_FOUND"
    status = 404


class AlreadyExists(HeadraceError):
    """An object with this name exists already."""

    code = "ALREADY_EXISTS"
    status = 409


class Conflict(HeadraceError):
    """The state is no longer what the request supposed."""

    code = "CONFLICT"
    status = 409


class LeaseLost(Conflict):
    """The job's lease passed to another worker; the result was not taken."""

    code = "LEASE_LOST"


class LabelsNotMature(Conflict):
    """The outcomes that the labels need are not yet known at the business clock."""

    code = "LABELS_NOT_MATURE"


class EnvironmentMismatch(Conflict):
    """The bundle was locked to packages other than the installed ones."""

    code = "ENVIRONMENT_MISMATCH"


class Pinned(Conflict):
    """Something still needs what was to be deleted."""

    code = "PINNED"


class TooLarge(HeadraceError):
    """The request is larger than the limit."""

    code = "TOO_LARGE"
    status = 413


class UnsupportedMediaType(InvalidInput):
    """The body is of a kind that is not read here."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415


class NotServed(HeadraceError):
    """A part of a foreign protocol that this platform does not serve."""

    code = "NOT_SERVED"
    status = 501


class MissingExtra(NotServed):
    """An optional dependency is not installed; `fix` holds the install line."""

    code = "MISSING_EXTRA"


class Unavailable(HeadraceError):
    """The platform cannot answer now; the same call may succeed later.

    Attributes:
        retry_after_s: how long a caller should wait before it asks again.
    """

    code = "UNAVAILABLE"
    status = 503
    retry_after_s: int = 1


class Overloaded(Unavailable):
    """More is asked for than can be answered in time; nothing was done for this request."""

    code = "OVERLOADED"


class BodyTimeout(HeadraceError):
    """The body of a request did not come in time, so its place was given to others."""

    code = "BODY_TIMEOUT"
    status = 408


class DeadlineExceeded(HeadraceError):
    """The time that the request had is over; whatever is still computed for it is thrown away."""

    code = "DEADLINE_EXCEEDED"
    status = 504


class InternalError(HeadraceError):
    """A defect on the platform's side of the line."""

    code = "INTERNAL_ERROR"
    status = 500


class ModelFault(InternalError):
    """The model raised, or answered with something that is not a prediction."""

    code = "MODEL_FAULT"


class UserCodeError(InternalError):
    """A function of the user's project raised; the original is the cause."""

    code = "USER_CODE_ERROR"


class AuditBroken(InternalError):
    """The audit trail does not verify; `where` names the first bad row."""

    code = "AUDIT_BROKEN"


class StartError(HeadraceError):
    """A process of the platform cannot start."""

    code = "START_ERROR"


class HomeLocked(StartError):
    """Another platform already runs on this home."""

    code = "HOME_LOCKED"


class PortInUse(StartError):
    """Another program listens on the port."""

    code = "PORT_IN_USE"


def every_error(root: type[HeadraceError] = HeadraceError) -> dict[str, type[HeadraceError]]:
    """All error classes by code, so that a client can raise what a server named."""
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= every_error(child)
    return found
