"""No core files: a picture of this process's memory holds shares and keys."""

from __future__ import annotations

import ctypes
import resource
import sys

#: From <linux/prctl.h>.
_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """Make sure that no crash of this process, or of a child, writes its memory to disk.

    On Linux also where a program receives core files, which ignores the limit of their size; and other processes of
    the same user cannot read this one's memory any more. Both hold until another program is executed.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
