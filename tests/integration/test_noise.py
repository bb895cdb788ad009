"""A short run of `make noise`: its slots, its judgement."""
import sys
from pathlib import Path

from harness import takes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import noise  # noqa: E402


@takes(25)
def test_each_slot_finds_its_rate():
    slots = noise.run(3, [case for case in noise.CASES if case[2] and "stall" not in case[0]], app_bytes=100_000)
    assert [fault for slot in slots for fault in slot.faults()] == [], [(slot.noise, slot.began, slot.ended) for slot in slots]
    assert all(len(slot.jobs) == 3 for slot in slots)


def judged(began, ended, is_hopeless=True):
    slot = noise.Slot(0, ("", 921600, is_hopeless))
    slot.began, slot.ended = began, ended
    return list(slot.faults())


def test_the_judgement():
    top, low = 921600, 460800
    assert judged([top] + [low] * 9, [low] * 10) == []
    assert judged([top] + [low] * 9 + [top] + [low] * 9, [low] * 20) == []  # tried again once
    assert judged([top, top] + [low] * 8, [low] * 10)  # the second board
    assert judged([top] + [low, top] * 10, [low] * 21)  # too often
    assert judged([low, top] * 10, [low, top] * 10)  # up and down
    assert judged([top, top] * 10, [top] * 20, False) == []
