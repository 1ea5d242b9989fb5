"""Readers and keypads: what their protocol promises, kept by the simulated ones."""

import time

import pytest

from drivers.reader.base import Credential, Keypad, Reader, ReaderError
from drivers.reader.simulated import SimulatedKeypad, SimulatedReader


def test_a_card_is_told_once_however_long_it_is_held_there_and_again_when_it_comes_back() -> None:
    shown: list[Credential] = []
    simulated = SimulatedReader()
    reader: Reader = simulated
    reader.on_credential(shown.append)
    before_s = time.monotonic()
    simulated.show(0x1A2B3C, 24)
    simulated.show(0x1A2B3C, 24)
    simulated.take_away()
    simulated.show(0x1A2B3C, 24)
    assert [(card.number, card.bits) for card in shown] == [(0x1A2B3C, 24)] * 2
    assert before_s <= shown[0].at_s <= shown[1].at_s <= time.monotonic()


def test_cards_of_one_number_and_different_lengths_are_two() -> None:
    shown: list[Credential] = []
    reader = SimulatedReader()
    reader.on_credential(shown.append)
    reader.show(5, 24)
    reader.show(5, 32)
    assert [card.bits for card in shown] == [24, 32]


def test_a_cards_number_stands_in_no_text_of_it() -> None:
    assert "123456" not in repr(Credential(123456, 24, 1.0))


@pytest.mark.parametrize(("number", "bits"), [(1 << 24, 24), (-1, 24), (0, 0)])
def test_a_number_that_its_bits_cannot_hold_is_refused_without_being_told(number: int, bits: int) -> None:
    with pytest.raises(ReaderError, match=f"a credential of {bits} bits does not fit") as refused:
        SimulatedReader().show(number, bits)
    assert str(1 << 24) not in str(refused.value)


def test_keys_are_told_one_by_one_with_their_times() -> None:
    pressed: list[tuple[str, float]] = []
    simulated = SimulatedKeypad()
    keypad: Keypad = simulated
    keypad.on_key(lambda key, at_s: pressed.append((key, at_s)))
    simulated.type("47#")
    assert [key for key, _ in pressed] == ["4", "7", "#"]
    assert [at_s for _, at_s in pressed] == sorted(at_s for _, at_s in pressed)
    with pytest.raises(ReaderError, match='no key "A"'):
        simulated.type("A")


def test_the_verdict_is_seen_at_the_reader_and_nothing_is_told_after_close() -> None:
    told: list[object] = []
    reader, keypad = SimulatedReader(), SimulatedKeypad()
    reader.on_credential(told.append)
    keypad.on_key(lambda key, at_s: told.append(key))
    for device in (reader, keypad):
        device.signal("refused")
        device.signal("granted")
        device.close()
        assert device.signals == ["refused", "granted"]
    reader.show(1, 24)
    keypad.type("1")
    assert told == []
