"""Which device computes, and how the process is set up for it."""

import ctypes
import functools
import platform
import re
import statistics
import sys
import time
from pathlib import Path

import torch

from recctl.errors import UserError

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEEP_BYTES = 1 << 30


def pick(name: str = "auto") -> torch.device:
    """The device of a name; `auto` prefers cuda, then mps, then cpu.

    Raises UserError when the machine does not have the named device.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available.get(name, False):
        raise UserError(
            f"device '{name}' is not available on this machine",
            "set train.device to auto or cpu in params.yaml",
        )
    return torch.device(name)


def prepare(device: torch.device) -> None:
    """Set this process up for computing on a device: memory on a CPU, TF32 products on a GPU.

    cuDNN's attention is switched off: it takes 30 ms to plan for every new shape, and each batch of
    histories has its own (PyTorch 2.11 on an H200; docs/experiments.md).
    """
    if device.type == "cpu":
        _keep_freed_memory()
    else:
        torch.set_float32_matmul_precision("high")
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)


@functools.cache
def _keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the system.

    Large tensors otherwise come from fresh pages each time, and a training step spends a third of
    its time in page faults. New threads share one arena: separate ones are of 64 MiB, and returned.
    Without glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
        library.mallopt(_M_ARENA_MAX, 1)


def seed(device: torch.device, number: int) -> None:
    """Seed torch's own generator of a device, which is what its dropout draws from.

    torch.manual_seed does it for all kinds of device, which takes longer.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)


def autocast_dtype(precision: str) -> torch.dtype | None:
    """The type of matrix products under autocast, None for plain float32."""
    return torch.bfloat16 if precision == "bfloat16" else None


def gflops(device: torch.device, dtype: torch.dtype, seconds: float = 0.4) -> float:
    """Median speed of square matrix products, in 10^9 operations per second (2 n^3 each)."""
    n = 1024 if device.type == "cpu" else 8192
    a = torch.randn(n, n, device=device, dtype=dtype)
    b, out = torch.randn_like(a), torch.empty_like(a)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 4:
        began = time.perf_counter()
        torch.mm(a, b, out=out)
        float(out[0, 0])  # waits for the device
        times.append(time.perf_counter() - began)
    return 2 * n**3 / statistics.median(times[1:]) / 1e9


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    found = re.search(r"^model name.*?: *(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
