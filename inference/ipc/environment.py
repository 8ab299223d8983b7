"""The environment of a child process: the variables that torch and Hugging Face need, without secrets.

An allow-list, from which every name that looks like a secret is removed.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")

ROOT = Path(__file__).resolve().parents[2]
"""The clone. Children start here and find the same packages and relative model folders."""

_ALLOWED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|SYSTEMDRIVE|WINDIR"
    r"|COMSPEC|PATHEXT|APPDATA|LOCALAPPDATA|PROGRAMDATA|USERPROFILE|VIRTUAL_ENV|LD_LIBRARY_PATH"
    r"|DYLD_\w+|PYTHONPATH|PYTHONHOME|PYTHONDONTWRITEBYTECODE|PYTHONPYCACHEPREFIX|XDG_\w+"
    r"|HF_HOME|HF_HUB_CACHE|HF_XET_CACHE|HUGGINGFACE_HUB_CACHE|CUDA_\w+|NVIDIA_\w+|NCCL_\w+|CUBLAS_\w+|HIP_\w+|ROCR_\w+"
    r"|ROCM_\w+|HSA_\w+|ZE_\w+|SYCL_\w+|ONEAPI_\w+|PYTORCH_\w+|TORCH_\w+|TORCHINDUCTOR_\w+|TRITON_\w+"
    r"|OMP_\w+|MKL_\w+|KMP_\w+|GOMP_\w+|OPENBLAS_\w+|NUMEXPR_\w+|EASEL_DATA_DIR",
    re.ASCII,
)
_SECRET = re.compile(r"TOKEN|SECRET|KEY|PASSW|PASSPHRASE|CREDENTIAL|AUTH|COOKIE|WEBHOOK", re.IGNORECASE)

_FIXED = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # Their warnings can quote prompts.
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
}

_DEFAULTS = {
    # Threads that spin while they wait keep the processor from those they wait for: on a busy machine, up to 30 times
    # slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def clean_environment(environ: Mapping[str, str], threads: int = 0) -> dict[str, str]:
    """The variables of `environ` that a child may see, and our own. `threads` 0: the libraries' default, or as many as
    the container may use."""
    allowed = {name: value for name, value in environ.items() if _ALLOWED.fullmatch(name) and not _SECRET.search(name)}
    limit = threads or container_threads()
    counts = {"OMP_NUM_THREADS": str(limit), "MKL_NUM_THREADS": str(limit)} if limit else {}
    return _DEFAULTS | (allowed | counts if threads else counts | allowed) | _FIXED


def container_threads(cgroup: Path = _CGROUP) -> int:
    """The processors whose time this container may use, where it has more; 0: it has no such limit. Libraries count the
    processors that it has, and threads beyond the limit are stopped in turn, while others wait for them."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        limit = max(1, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):  # not in a container, or "max": no limit
        return 0
    import psutil  # type: ignore[import-untyped]

    return limit if limit < (psutil.cpu_count(logical=False) or os.cpu_count() or 1) else 0
