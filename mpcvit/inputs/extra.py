"""Libraries that an installation may lack."""

from __future__ import annotations

import importlib
from types import ModuleType

from mpcvit.errors import ConfigError

#: The extra with all of them.
_EXTRA = "medical"


def medical(module: str, kind: str) -> ModuleType:
    """Return the library ``module``, which reads files of ``kind``.

    Raises:
        ConfigError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a {kind} file, and no module '{error.name}'",
            expected=f"an installation with the extra '{_EXTRA}'",
            remedy=f"Install mpcvit with it: pip install 'mpcvit[{_EXTRA}]', or convert the file to npy or TIFF.",
        ) from error
