"""``mpcvit collect-env``: what a bug report needs, without secrets."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509

from mpcvit import __version__
from mpcvit.cli.config import ConfigRole, problems_of
from mpcvit.cli.output import Json, command, print_json, print_table
from mpcvit.wire import PROTOCOL_VERSION
from mpcvit.wire.peer_certificate import spki_sha256
from mpcvit.yaml_document import YamlDocument
from parties.common.tenants_file import TenantsFile

#: Packages whose version explains most failures.
_PACKAGES = [
    "crypten",
    "cryptography",
    "grpcio",
    "numba",
    "numpy",
    "pillow",
    "protobuf",
    "pydantic",
    "safetensors",
    "timm",
    "torch",
]
#: Flags of processors that mpcvit's kernels use.
_CPU_FLAGS = {"aes", "avx", "avx2", "avx512f", "pclmulqdq", "sse4_2", "vaes"}
_ENVIRONMENT = re.compile(r"MPCVIT_|GRPC_|NUMBA_|OMP_|(https?|all|grpc|no)_proxy$", flags=re.IGNORECASE)
_SECRET_NAME = re.compile(r"token|secret|passw|credential|private", flags=re.IGNORECASE)
_SECRET_PARTS = re.compile(r"(?<=://)[^/@\s]*@|\?\S*$")
_HIDDEN = "<hidden>"


@command
def collect_env(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A configuration, for its keys and certificates.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Print versions, machine, environment and configuration for a bug report.

    Keys, shares and tokens are never read. Values that may hold a password are hidden.
    """
    document: dict[str, Any] = {
        "mpcvit": __version__,
        "protocol": PROTOCOL_VERSION,
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "memory_mib": _memory(),
        "limits": _limits(),
        "environment": {
            name: scrubbed(os.environ[name], name) for name in sorted(os.environ) if _ENVIRONMENT.match(name)
        },
    }
    if config is not None:
        document["config"] = _config(YamlDocument.read(config))
    if json_output:
        print_json(document)
    else:
        print_table("environment", list(_flat(document)))


def scrubbed(value: Any, name: str = "") -> Any:
    """Return ``value``, named ``name`` in a configuration or the environment, without what may be secret in it."""
    if isinstance(value, Mapping):
        return {str(key): scrubbed(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [scrubbed(inner, name) for inner in value]
    if _SECRET_NAME.search(name) or (isinstance(value, str) and "-----BEGIN" in value):
        return _HIDDEN
    return _SECRET_PARTS.sub(_HIDDEN, value) if isinstance(value, str) else value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> dict[str, Any]:
    text = _read("/proc/cpuinfo")
    facts = dict(re.findall(r"^(model name|flags|Features)\s*: (.*)$", text, flags=re.MULTILINE))
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return {
        "model": facts.get("model name", platform.machine()),
        "count": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": sorted(flags & _CPU_FLAGS),
    }


def _memory() -> dict[str, int]:
    """Return MiB of the machine, what of it is available, and what the container allows, as far as is known."""
    kib = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", _read("/proc/meminfo"), flags=re.MULTILINE))
    found = {
        name: int(kib[key]) >> 10 for name, key in (("total", "MemTotal"), ("available", "MemAvailable")) if key in kib
    }
    container = _read("/sys/fs/cgroup/memory.max").strip()
    return {**found, **({"container": int(container) >> 20} if container.isdigit() else {})}


def _limits() -> dict[str, int]:
    try:
        import resource
    except ImportError:  # Windows
        return {}
    return {
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    }


def _config(document: YamlDocument) -> dict[str, Any]:
    role = ConfigRole.guess(document)
    problems, notices = problems_of(document, role)
    settings, _ = role.settings.check(document)
    facts: dict[str, Any] = {
        "file": str(document.path),
        "role": str(role),
        "problems": [scrubbed(str(problem)) for problem in problems],
        "notices": [scrubbed(notice) for notice in notices],
        "content": scrubbed(document.content),
    }
    if settings is not None and not isinstance(settings, TenantsFile):
        files = settings.tls.files
        facts["certificates"] = {
            name: _certificate(path) for name, path in (("ca", files.ca), ("cert", files.cert)) if path is not None
        }
    state = getattr(settings, "state", None)
    if state is not None and state.dir.is_dir():
        facts["state_free_mib"] = shutil.disk_usage(state.dir).free >> 20
    return facts


def _certificate(path: Path) -> list[dict[str, Any]]:
    """Return whose each certificate in ``path`` is, its dates, and the digest of its public key."""
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        return [{"file": str(path), "error": type(error).__name__}]
    now = datetime.datetime.now(datetime.UTC)
    return [
        {
            "file": str(path),
            "names": _names(one),
            "issuer": one.issuer.rfc4514_string(),
            "valid_from": f"{one.not_valid_before_utc:%Y-%m-%d %H:%M}",
            "valid_until": f"{one.not_valid_after_utc:%Y-%m-%d %H:%M}",
            "days_left": (one.not_valid_after_utc - now).days,
            "spki_sha256": spki_sha256(one),
        }
        for one in certificates
    ]


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return [certificate.subject.rfc4514_string()]
    return extension.value.get_values_for_type(x509.DNSName)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the leaves of ``document`` with the names of the keys on the way."""
    rows: list[tuple[str, str]] = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, inner in enumerate(value):
                rows += _flat(inner, f"{prefix}{name}.{number}.")
        else:
            rows.append((prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return rows
