"""The data sets that recipes name."""

from __future__ import annotations

from mpcvit.data.cifar10 import CIFAR10
from mpcvit.data.cifar100 import CIFAR100
from mpcvit.data.data_set import DataSet
from mpcvit.data.tinyimagenet import TINYIMAGENET
from mpcvit.errors import ConfigError

DATA_SETS: dict[str, DataSet] = {data.name: data for data in (CIFAR10, CIFAR100, TINYIMAGENET)}


def data_set(name: str) -> DataSet:
    """Return the data set of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in DATA_SETS:
        raise ConfigError(
            f"data set '{name}'", expected=f"one of {', '.join(sorted(DATA_SETS))}", remedy="Correct the name."
        )
    return DATA_SETS[name]
