"""The machine's load while a run lasts, under the names that MLflow gave these metrics."""

import threading
from collections.abc import Callable
from typing import Any

import psutil

MEGABYTE = 1e6


class SystemMetrics:
    """Samples in a thread of its own, at once, at an interval, and at the end.

    Args:
        log: takes values by metric name, and the number of the sample as the step.
        every_s: seconds between samples.
    """

    def __init__(self, log: Callable[[dict[str, float], int], None], every_s: float) -> None:
        self._log = log
        self._every_s = every_s
        self._stop = threading.Event()
        self._step = 0
        self._process = psutil.Process()
        self._network = psutil.net_io_counters()
        self._nvml = _nvml()
        psutil.cpu_percent(interval=None)  # the first answer of each is meaningless
        self._process.cpu_percent(interval=None)
        self._thread = threading.Thread(target=self._sample_until_stopped, name="headrace-system", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _sample_until_stopped(self) -> None:
        stopped = self._stop.wait(min(1.0, self._every_s))
        while True:
            try:
                self._log(self._sample(), self._step)
            except (OSError, psutil.Error):
                return
            self._step += 1
            if stopped:
                return
            stopped = self._stop.wait(self._every_s)

    def _sample(self) -> dict[str, float]:
        memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(interval=None),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": memory.percent,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / MEGABYTE,
            "disk_available_megabytes": disk.free / MEGABYTE,
            "process_cpu_utilization_percentage": self._process.cpu_percent(interval=None),
            "process_memory_usage_megabytes": self._process.memory_info().rss / MEGABYTE,
        }
        if self._network is not None:
            network = psutil.net_io_counters()
            values["network_receive_megabytes"] = (network.bytes_recv - self._network.bytes_recv) / MEGABYTE
            values["network_transmit_megabytes"] = (network.bytes_sent - self._network.bytes_sent) / MEGABYTE
        return {f"system/{name}": float(value) for name, value in (values | self._gpus()).items()}

    def _gpus(self) -> dict[str, float]:
        if self._nvml is None:
            return {}
        values: dict[str, float] = {}
        try:
            for index in range(self._nvml.nvmlDeviceGetCount()):
                gpu = self._nvml.nvmlDeviceGetHandleByIndex(index)
                memory = self._nvml.nvmlDeviceGetMemoryInfo(gpu)
                values[f"gpu_{index}_memory_usage_percentage"] = 100 * memory.used / memory.total
                values[f"gpu_{index}_memory_usage_megabytes"] = memory.used / MEGABYTE
                values[f"gpu_{index}_utilization_percentage"] = self._nvml.nvmlDeviceGetUtilizationRates(gpu).gpu
                values[f"gpu_{index}_power_usage_watts"] = self._nvml.nvmlDeviceGetPowerUsage(gpu) / 1000
        except self._nvml.NVMLError:  # a GPU that was lost, or does not tell: the rest is still worth having
            return values
        return values


def _nvml() -> Any:
    """NVIDIA's library, where `nvidia-ml-py` and a driver are installed; otherwise None."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
