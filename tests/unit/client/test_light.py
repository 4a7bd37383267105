"""The client starts without torch."""

from __future__ import annotations

import subprocess
import sys


def test_the_light_client_imports_no_torch() -> None:
    """``import mpcvit.client`` needs only the base installation."""
    code = (
        "import sys, mpcvit.client; "
        "heavy = {'torch', 'crypten', 'timm', 'torchvision', 'safetensors'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_starts_without_torch() -> None:
    """``mpcvit --help`` and the client's commands work from the base installation."""
    code = (
        "import sys, mpcvit.cli.main; "
        "heavy = {'torch', 'crypten', 'timm', 'torchvision', 'safetensors'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
