"""Settings: read from variables, overridden by arguments, and shown without their secrets."""

from pathlib import Path

import pytest

from headrace.errors import InvalidInput
from headrace.kernel.settings import (
    Settings,
    environment_without_settings,
    foreign_environment,
    http_address,
    load_settings,
)


def test_variables_are_converted_and_arguments_come_first() -> None:
    settings = load_settings(
        {"HEADRACE_PORT": "9000", "HEADRACE_HOME": "there", "HEADRACE_ALERTS_ALLOW_LOOPBACK": "true", "PATH": "x"},
        port=9001,
        host=None,
    )
    assert (settings.port, settings.home, settings.host) == (9001, Path("there"), "127.0.0.1")
    assert settings.alerts_allow_loopback is True


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HEADRACE_PORT", "eighty"), ("HEADRACE_ALERTS_ALLOW_LOOPBACK", "perhaps"), ("HEADRACE_SYNCHRONOUS", "OFF")],
)
def test_a_value_that_cannot_be_meant_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        load_settings({variable: value})
    assert refusal.value.where == variable


def test_secrets_are_not_shown() -> None:
    shown = repr(Settings(token="hdr_secret", system_token="also secret", alert_channels="ops=slack://secret"))
    assert "secret" not in shown


def test_channels_are_pairs() -> None:
    settings = Settings(alert_channels="ops=json://a/b?c=d oncall=slack://x/y/z broken")
    assert settings.channels == {"ops": "json://a/b?c=d", "oncall": "slack://x/y/z"}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fd00::1", "http://[fd00::1]:80"),
        ("platform.example", "http://platform.example:80"),
    ],
)
def test_a_process_is_called_where_it_can_be_reached(host: str, address: str) -> None:
    assert http_address(host, 80) == address


def test_what_runs_a_strangers_code_is_told_nothing_that_may_be_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = {"PATH", "LC_ALL", "https_proxy", "SSL_CERT_FILE", "OMP_NUM_THREADS"}
    of_builds = {"UV_DEFAULT_INDEX", "PIP_CERT"}
    secrets = {"AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "MLFLOW_TRACKING_TOKEN", "SLACK_HOOK", "HEADRACE_TOKEN"}
    for name in harmless | of_builds | secrets:
        monkeypatch.setenv(name, "x")
    told = harmless | of_builds | secrets
    assert told & foreign_environment().keys() == harmless
    assert told & foreign_environment(builds=True).keys() == harmless | of_builds
    assert told - environment_without_settings().keys() == {"HEADRACE_TOKEN"}


def test_what_others_wrote_is_told_no_login_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ana:secret@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost,10.0.0.0/8")
    found = foreign_environment()
    assert found["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert found["no_proxy"] == "localhost,10.0.0.0/8"
    assert foreign_environment(builds=True)["HTTPS_PROXY"] == "http://ana:secret@proxy.example:3128"
