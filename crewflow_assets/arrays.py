"""Types of arrays, by what they hold; what their axes are is said where they are used."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
AnyFloats = NDArray[np.floating]
"""Of either precision."""
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Objects = NDArray[np.object_]
"""Texts, most often: names of companies, clusters, classes."""
