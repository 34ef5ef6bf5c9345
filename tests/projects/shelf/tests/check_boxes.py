import pytest
from shelf import Box, FullError
from shelf.boxes import heaviest


@pytest.fixture
def box():
    return Box(10).put("book", 3)


def test_put(box):
    assert box.put("lamp", 7) is box
    assert box.items == [("book", 3), ("lamp", 7)]


def test_put_too_much(box):
    with pytest.raises(FullError, match="anvil"):
        box.put("anvil", 8)
    assert len(box) == 1


def test_weight(box):
    assert box.weight == 3


def test_heaviest(box):
    assert heaviest(box.put("lamp", 4)) == "lamp"
