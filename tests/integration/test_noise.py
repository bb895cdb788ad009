"""A short run of `make noise`: its slots, its judgement."""
import sys
from pathlib import Path

from harness import takes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import noise  # noqa: E402


@takes(25)
def test_each_slot_finds_its_rate():
    slots = noise.run(3, [case for case in noise.CASES if case[2] and "stall" not in case[0]], app_bytes=100_000)
    assert all(is_shown for _, is_shown, _, _ in noise.verdict(slots)), noise.verdict(slots)
    assert all(len(slot.jobs) == 3 for slot in slots)


def judged(began, ended, is_hopeless=True, failures=()):
    """Of success, settling, oscillation: what wasn't shown."""
    slot = noise.Slot(0, ("", 921600, is_hopeless))
    slot.began, slot.ended, slot.jobs, slot.failures = began, ended, began, list(failures)
    return [what.split()[0] for what, is_shown, _, _ in noise.verdict([slot]) if not is_shown]


def test_the_judgement():
    top, low = 921600, 460800
    assert judged([top] + [low] * 9, [low] * 10) == []
    assert judged([top] + [low] * 9 + [top] + [low] * 9, [low] * 20) == []  # tried again once
    assert judged([top, top] + [low] * 8, [low] * 10) == []  # two boards are enough
    assert judged([top, top, top] + [low] * 7, [low] * 10) == ["settled"]
    assert judged([top] + [low, top] * 10, [low] * 21) == ["settled", "no"]  # too often
    assert judged([low, top] * 10, [low, top] * 10) == ["settled", "no"]  # up and down
    assert judged([low, top] * 10, [low, top] * 10, is_hopeless=False) == ["no"]
    assert judged([top, top] * 10, [top] * 20, False) == []
    assert judged([top] + [low] * 999, [low] * 1000, failures=["one"]) == []
    assert judged([top] + [low] * 999, [low] * 1000, failures=["one", "two"]) == ["success"]
    assert judged([top] + [low] * 9, [low] * 10, failures=["one"]) == ["success"]
