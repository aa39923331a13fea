import sys
import threading
from types import SimpleNamespace

import pytest

from headrace.sdk.system_metrics import SystemMetrics


def test_it_samples_at_once_and_at_the_end() -> None:
    samples: list[tuple[int, dict[str, float]]] = []
    metrics = SystemMetrics(lambda values, step: samples.append((step, values)), every_s=60.0)
    metrics.start()
    metrics.stop()
    assert [step for step, _ in samples] == list(range(len(samples)))
    assert samples
    values = samples[-1][1]
    assert values["system/system_memory_usage_megabytes"] > 0
    assert 0 <= values["system/disk_usage_percentage"] <= 100
    assert all(isinstance(value, float) for value in values.values())


def test_gpus_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's library in its own words; no GPU is here to ask."""

    class NVMLError(Exception):
        pass

    def lost(_gpu: int) -> int:
        raise NVMLError

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda _gpu: SimpleNamespace(used=2e9, total=8e9),
        nvmlDeviceGetUtilizationRates=lambda _gpu: SimpleNamespace(gpu=75),
        nvmlDeviceGetPowerUsage=lost,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    seen = threading.Event()
    samples: list[dict[str, float]] = []

    def log(values: dict[str, float], _step: int) -> None:
        samples.append(values)
        seen.set()

    metrics = SystemMetrics(log, every_s=60.0)
    metrics.start()
    metrics.stop()
    assert samples[-1]["system/gpu_0_utilization_percentage"] == 75.0
    assert samples[-1]["system/gpu_0_memory_usage_percentage"] == 25.0
    assert "system/gpu_0_power_usage_watts" not in samples[-1]
