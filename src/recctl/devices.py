"""Which device computes, and how the process is set up for it."""

import ctypes
import functools
import sys

import torch

from recctl.errors import UserError

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = 1 << 30


def pick(name: str = "auto") -> torch.device:
    """The device of a name; `auto` prefers cuda, then mps, then cpu.

    Raises UserError when the named device is not there.
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
    """Set this process up for computing on a device: memory on a CPU, TF32 products on a GPU."""
    if device.type == "cpu":
        _keep_freed_memory()
    else:
        torch.set_float32_matmul_precision("high")


@functools.cache
def _keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the system.

    Large tensors otherwise come from fresh pages each time, and a training step spends a third of
    its time in page faults. Elsewhere than on glibc nothing happens.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def autocast_dtype(device: torch.device, precision: str) -> torch.dtype | None:
    """The type of matrix products under autocast, None for plain float32."""
    if precision == "bfloat16":
        return torch.bfloat16
    if (
        precision == "auto"
        and device.type == "cuda"
        and torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        return torch.bfloat16
    return None
