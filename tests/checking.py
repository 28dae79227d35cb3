"""What checks types at run time: beartype, for which numbers of numpy are numbers."""

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

_NUMBERS = FrozenDict({
    int: int | np.integer,
    float: float | int | np.floating | np.integer,
})  # fmt: skip

check = beartype(conf=BeartypeConf(hint_overrides=_NUMBERS))
