"""Batches that are coupled in another thread: the same pairs, in order, and nothing left behind."""

import gc
import threading
import time

import numpy as np
import pytest

import elastic_ot as eot


def batches(count, size=20):
    rng = np.random.default_rng(3)
    return [(rng.normal(size=(size, 2)), rng.normal(size=(size, 2)) + 1.0) for _ in range(count)]


def alive():
    return [thread for thread in threading.enumerate() if thread.name == "elastic_ot.couples"]


def until(condition):
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("options", [{}, {"method": "entropic", "epsilon": 0.5, "replace": True, "k": 7}])
def test_pairs_are_those_of_couple_one_after_the_other(options):
    given, rng = batches(5), np.random.default_rng(11)
    found = list(eot.couples(given, seed=11, **options))
    assert len(found) == 5
    for (x0, x1), (y0, y1, pairs) in zip(given, found, strict=True):
        expected = eot.couple(x0, x1, seed=rng, **options)
        assert y0 is x0
        assert y1 is x1
        np.testing.assert_array_equal(pairs.rows, expected.rows)
        np.testing.assert_array_equal(pairs.cols, expected.cols)
    assert not alive()


def test_so_many_batches_wait_and_no_more():
    taken = []

    def source():
        for k, batch in enumerate(batches(20)):
            taken.append(k)
            yield batch

    found = eot.couples(source(), ahead=3)
    next(found)
    assert until(lambda: len(taken) == 1 + 3 + 1)  # the one that was taken, those that wait, the one without room
    time.sleep(0.3)
    assert len(taken) == 5
    found.close()
    assert not alive()


def test_nothing_is_taken_before_the_first_is_asked_for():
    taken = []
    found = eot.couples(taken.append(k) or batch for k, batch in enumerate(batches(2)))
    time.sleep(0.05)
    assert not taken
    assert len(list(found)) == 2


def test_the_thread_ends_when_the_iterator_is_forgotten():
    found = eot.couples(batches(50))
    next(found)
    assert alive()
    del found
    gc.collect()
    assert until(lambda: not alive())


def test_an_error_comes_in_the_place_of_its_batch():
    given = batches(2)
    given.append((given[0][0], np.full((20, 2), np.nan)))
    found = eot.couples(given)
    next(found)
    next(found)
    with pytest.raises(ValueError, match=r"x1\[0, 0\]"):
        next(found)
    with pytest.raises(StopIteration):
        next(found)
    assert not alive()


def test_what_the_source_raises_is_raised():
    def source():
        yield from batches(1)
        raise OSError("the disk is gone")

    found = eot.couples(source())
    next(found)
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ahead": 0}, ValueError, "ahead is 0; it must be >= 1"),
        ({"ahead": 1.5}, TypeError, "ahead is 1.5; it must be an integer"),
        ({"eps": 0.1}, TypeError, "eps"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        list(eot.couples(batches(1), **options))
