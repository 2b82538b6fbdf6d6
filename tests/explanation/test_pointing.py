"""Masks, points, hits and overlaps of hand-made maps and boxes are what geometry says."""

import numpy as np

from lungkeras.explanation import pointing


def one(value_at: tuple[int, int], size: int = 10) -> np.ndarray:
    found = np.zeros((size, size), np.float32)
    found[value_at] = 1
    return found


def test_a_mask_holds_the_pixels_with_centres_in_a_box():
    found = pointing.mask(np.array([[0.0, 0.0, 0.5, 0.25], [0.75, 0.75, 1.0, 1.0]]), (4, 8))
    expected = np.zeros((4, 8), bool)
    expected[0, :4] = expected[3, 6:] = True
    np.testing.assert_array_equal(found, expected)


def test_a_box_smaller_than_a_pixel_is_the_pixel_around_its_centre():
    found = pointing.mask(np.array([[0.51, 0.99, 0.52, 1.0]]), (10, 10))
    assert np.argwhere(found).tolist() == [[9, 5]]


def test_a_point_inside_is_a_hit_and_a_map_of_zeros_points_nowhere():
    box = np.array([[0.2, 0.4, 0.5, 0.6]])
    maps = np.stack([one((4, 2)), one((5, 4)), one((4, 5)), one((3, 2)), np.zeros((10, 10), np.float32)])
    assert pointing.pointing_game(maps, [box] * 5).tolist() == [True, True, False, False, False]
    two = np.array([[0.9, 0.9, 1.0, 1.0], [0.2, 0.3, 0.3, 0.4]])
    assert pointing.pointing_game(maps, [two] * 5).tolist() == [False, False, False, True, False]


def test_the_point_of_a_map_is_the_centre_of_its_highest_cell():
    for row, column in np.ndindex(4, 8):
        coarse = np.zeros((1, 4, 8), np.float32)
        coarse[0, row, column] = 1
        assert pointing.points(coarse).tolist() == [[(column + 0.5) / 8, (row + 0.5) / 4]]


def test_among_equal_cells_the_one_nearest_to_the_middle_counts():
    maps = np.zeros((1, 5, 5), np.float32)
    maps[0, 0, 0] = maps[0, 1, 3] = maps[0, 4, 4] = 1
    assert pointing.points(maps).tolist() == [[0.7, 0.3]]


def test_iou_of_a_map_is_that_of_the_area_above_half_of_its_maximum():
    box = pointing.mask(np.array([[0.0, 0.0, 0.4, 0.5]]), (10, 10))  # 20 pixels
    maps = np.zeros((4, 10, 10))
    maps[0, :5, :4] = 7.0  # the box itself
    maps[1, :5, 2:6] = 0.2  # half of it and as much beside it
    maps[1, 9, 9] = 0.1  # not above half
    maps[2, 8, 8] = 1.0
    found = pointing.overlap(maps, np.stack([box] * 4))
    np.testing.assert_allclose(found, [1, 10 / 30, 0, 0])


def test_cells_hit_if_a_box_holds_their_centre():
    boxes = np.array([[0.1, 0.1, 0.3, 0.3], [0.5, 0.25, 0.75, 0.9]])
    found = pointing.hitting_cells(boxes, (2, 4))  # centres at 1/8, 3/8, 5/8, 7/8 across and 1/4, 3/4 down
    assert found.astype(int).tolist() == [[1, 0, 1, 0], [0, 0, 1, 0]]
    assert not pointing.hitting_cells(np.array([[0.3, 0.3, 0.6, 0.6]]), (2, 2)).any(), "between all centres"
