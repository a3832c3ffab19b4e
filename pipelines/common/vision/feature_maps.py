"""Feature maps of images: many positions of each, read from the disk in the size of a batch."""

from collections.abc import Sequence

import numpy as np


class FeatureMaps:
    """The maps of images, float[images, positions, channels], of which only those that are asked for are in memory.

    It is indexed like an array, by a number or by int[rows], and then returns an array.

    Args:
        maps: those of each image, float[positions, channels], such as the arrays of a feature cache, which are mapped
            into memory.

    Raises:
        ValueError: There is no map, or their shapes differ.
    """

    def __init__(self, maps: Sequence[np.ndarray]):
        shapes = {each.shape for each in maps}
        if len(shapes) != 1:
            raise ValueError(f"the maps have the shapes {sorted(shapes)}, expected one shape [positions, channels]")
        self.maps = maps
        self.shape = (len(maps), *maps[0].shape)
        self.dtype = maps[0].dtype

    ndim = 3

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, rows) -> np.ndarray:
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        elif np.ndim(rows) == 0:
            return np.asarray(self.maps[rows])
        return np.stack([self.maps[row] for row in rows]) if len(rows) else np.zeros([0, *self.shape[1:]], self.dtype)
