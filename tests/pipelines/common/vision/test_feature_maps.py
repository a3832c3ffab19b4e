import numpy as np
import pytest

from pipelines.common.vision.feature_maps import FeatureMaps


def test_it_is_indexed_like_an_array():
    whole = np.arange(5 * 2 * 3, dtype=np.float16).reshape(5, 2, 3)
    maps = FeatureMaps(list(whole))
    assert (len(maps), maps.shape, maps.dtype, maps.ndim) == (5, (5, 2, 3), np.float16, 3)
    for rows in (2, np.int64(4), slice(1, 4), slice(3, None), slice(0, 0), np.array([3, 3, 0]), np.array([], np.int64)):
        found = maps[rows]
        np.testing.assert_array_equal(found, whole[rows])
        assert found.dtype == np.float16 and found.shape == whole[rows].shape


def test_a_batch_is_a_copy_and_a_map_of_another_shape_is_refused():
    whole = np.zeros([3, 2, 4])
    batch = FeatureMaps(list(whole))[np.array([0, 1])]
    batch += 1
    assert not whole.any()
    with pytest.raises(ValueError, match="expected one shape"):
        FeatureMaps([np.zeros([2, 4]), np.zeros([3, 4])])
    with pytest.raises(ValueError, match="expected one shape"):
        FeatureMaps([])
