"""Settings: the only place that reads the environment, so that what a process obeys can be read in one file."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import InvalidInput

ENDPOINT_FILE = "endpoint.json"
PREFIX = "HEADRACE_"
WANTED = {int: "a whole number", float: "a number", bool: "a yes or no, which is written 1 or 0"}
FOREIGN = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "XDG_CACHE_HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NVIDIA_VISIBLE_DEVICES",
        "HF_HOME",
        "HF_HUB_OFFLINE",
        "TORCH_HOME",
    }
)
"""What a process that runs a stranger's code is told of this one's environment; anything else may be a secret."""
FOREIGN_PREFIXES = ("LC_", "OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "VECLIB_", "KMP_", "CUDA_")
_LOGIN = re.compile(r"//[^/]*@")
FOREIGN_BUILDS = frozenset(
    {"CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "PKG_CONFIG_PATH", "NETRC", "XDG_DATA_HOME"}
)
FOREIGN_BUILD_PREFIXES = ("UV_", "PIP_")
"""What building an environment is told besides: where packages come from, and how they are compiled."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose. Each field is an environment variable HEADRACE_<FIELD>.

    Attributes:
        home: folder that holds the platform's state.
        url: where control answers, for clients and child processes; empty means: look into the home.
        token: bearer token of the caller; never logged.
        system_token: token of the platform's own processes, made anew by each `headrace up`; never logged.
        host: address that control and gateways bind to; anything but loopback needs logins.
        port: control's port, 0 picks a free one.
        gateway_port: the first gateway's port, 0 picks free ones.
        gateways: how many gateway processes.
        gateway_url: address under which others reach this gateway; empty means the one that it is bound to.
        request_timeout_s: seconds that a prediction has whose caller says nothing of it (X-Request-Timeout).
        requests_limit: predictions that one gateway has under way at most; others are told to come again.
        drain_s: seconds that a gateway which was told to end goes on taking requests, while it says that it is not
            ready; a load balancer in front of it needs a few.
        otlp_endpoint: address of an OpenTelemetry collector (OTLP over HTTP), where gateways send spans of
            predictions; empty means nowhere.
        workers: how many worker processes.
        database: path of the SQLite file, or a postgresql:// URL; empty means HOME/headrace.db.
        blobs: URL of the object store that keeps the platform's blobs, such as s3://bucket/prefix; empty means
            HOME/blobs.
        artifact_root: where clients write the files of new experiments themselves: a folder or an object store;
            empty means that files go through the platform.
        artifact_roots: further places, separated by blanks, below which an experiment may keep its files and have
            the platform read them.
        public_url: address under which others reach the platform, for links in its answers; empty means the one
            that a caller used.
        synchronous: SQLite's flush at commit: "FULL" survives power loss, "NORMAL" a crash of the process.
        alert_channels: `name=URL` pairs separated by blanks: where alerts named in projects go. URLs are secrets.
        alerts_allow_loopback: lets alerts go to this machine, for tests and demonstrations.
        retention: how long ago runs, logged models and experiments must have been deleted to be removed for good by
            themselves, such as 30d; empty means that they stay until `headrace gc`.
        optimize: whether workers look for a faster form of each version that serves the same answers.
        upload_limit_bytes: largest single upload.
        checkpoint_every: events between two signed checkpoints of the audit chain.
        spool: folder where runs wait to be sent; empty means HOME/spool.
        log_level: "debug", "info", "warning" or "error".
    """

    home: Path = Path(".headrace")
    url: str = ""
    token: str = ""
    system_token: str = ""
    host: str = "127.0.0.1"
    port: int = 8470
    gateway_port: int = 8471
    gateways: int = 1
    gateway_url: str = ""
    request_timeout_s: float = 60.0
    requests_limit: int = 1_000
    drain_s: float = 0.0
    otlp_endpoint: str = ""
    workers: int = 1
    database: str = ""
    blobs: str = ""
    artifact_root: str = ""
    artifact_roots: str = ""
    public_url: str = ""
    synchronous: str = "FULL"
    alert_channels: str = ""
    alerts_allow_loopback: bool = False
    retention: str = ""
    optimize: bool = True
    upload_limit_bytes: int = 100 * 1024**3
    checkpoint_every: int = 100
    spool: str = ""
    log_level: str = "info"

    def __repr__(self) -> str:
        secrets = {"token", "system_token", "alert_channels", "database"}
        shown = ", ".join(
            f"{name}={'…' if name in secrets and getattr(self, name) else getattr(self, name)!r}"
            for name in self.__struct_fields__
        )
        return f"Settings({shown})"

    @property
    def database_path(self) -> Path:
        """The SQLite file of an embedded home."""
        return Path(self.database) if self.database else self.home / "headrace.db"

    @property
    def spool_path(self) -> Path:
        """The folder where runs wait to be sent."""
        return Path(self.spool) if self.spool else self.home / "spool"

    @property
    def channels(self) -> dict[str, str]:
        """Alert channels by name."""
        pairs = (pair.partition("=") for pair in self.alert_channels.split())
        return {name: url for name, _, url in pairs if url}


def inherited_environment() -> dict[str, str]:
    """This process's environment, for the children that it starts."""
    return dict(os.environ)


def environment_without_settings() -> dict[str, str]:
    """This process's environment without its settings, for another platform that is given its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def foreign_environment(*, builds: bool = False) -> dict[str, str]:
    """The part of this process's environment that holds no secrets, for processes that run what others wrote.

    Args:
        builds: whether it installs packages, and so has to know where they come from.
    """
    allowed = FOREIGN | FOREIGN_BUILDS if builds else FOREIGN
    prefixes = FOREIGN_PREFIXES + FOREIGN_BUILD_PREFIXES if builds else FOREIGN_PREFIXES
    found = {
        name: value for name, value in os.environ.items() if name.upper() in allowed or name.startswith(prefixes)
    }
    if builds:
        return found
    return {
        name: _LOGIN.sub("//", value) if name.upper().endswith("_PROXY") else value for name, value in found.items()
    }


def load_settings(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from `HEADRACE_*` variables, with `overrides` (None means: not given) on top.

    Args:
        environment: None for this process's own; a test passes another.
        overrides: fields given on the command line.

    Raises:
        InvalidInput: a value is not of its field's type; names the variable.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        variable = f"{PREFIX}{field.name.upper()}"
        if variable in environment:
            values[field.name] = _convert(environment[variable], field.type, variable)
    values |= {name: value for name, value in overrides.items() if value is not None}
    settings = Settings(**values)
    if settings.synchronous not in {"FULL", "NORMAL"}:
        raise InvalidInput(
            f"{settings.synchronous!r} is not a flush setting",
            where="HEADRACE_SYNCHRONOUS",
            fix="Use FULL (survives power loss) or NORMAL (survives a crash of the process).",
        )
    return settings


def _convert(text: str, wanted: Any, variable: str) -> Any:
    converters: dict[Any, Callable[[str], Any]] = {
        Path: Path,
        str: str,
        int: int,
        float: float,
        bool: lambda value: {"1": True, "true": True, "0": False, "false": False}[value.lower()],
    }
    try:
        return converters[wanted](text)
    except (ValueError, KeyError) as error:
        raise InvalidInput(
            f"{text!r} is not {WANTED[wanted]}", where=variable, fix="Set it to a valid value or unset it."
        ) from error


def http_address(host: str, port: int) -> str:
    """The address at which a process bound to `host` and `port` is called; a wildcard means this machine."""
    called = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here
    return f"http://[{called}]:{port}" if ":" in called else f"http://{called}:{port}"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What `headrace up` writes into its home so that clients find it.

    Attributes:
        url: control's address.
        gateways: the gateways' addresses.
        pid: process id of the supervisor.
    """

    url: str
    gateways: list[str]
    pid: int


def read_endpoint(home: Path) -> Endpoint | None:
    """The endpoint of the platform that runs on `home`, or None."""
    try:
        return msgspec.json.decode((home / ENDPOINT_FILE).read_bytes(), type=Endpoint)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
