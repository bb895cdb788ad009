"""loaders.py is whole: each file with faults in it runs by both loaders, or says why one is enough."""
import os
import re
from pathlib import Path

import loaders
import run

FAULTS = r"\.fault\(|unplug|kill_wipyd|stop_wipyd|power-cut|brownout|\"Cancel\"|\"cancel\"|flip-rate|baud-fail|rx-dead"
FILES = {path.stem: path.read_text() for path in Path(__file__).parent.glob("test_*.py")}


def test_each_file_with_faults_is_in_the_table():
    for name, text in FILES.items():
        if name == "test_loaders" or not re.search(FAULTS, text):
            continue
        is_both = any(re.match(re.escape(name) + r"\b", pattern) for pattern in loaders.BOTH)
        reasons = [why for pattern, why in loaders.ELSEWHERE.items() if re.fullmatch(pattern, name)]
        assert is_both or reasons, f"{name}: to loaders.BOTH, or to loaders.ELSEWHERE with a reason"


def test_what_the_table_names_is_there():
    names = {re.sub(r"\.(stub|legacy)$", "", test.name) for test in run.load("")}
    for pattern in [*loaders.BOTH, *loaders.LEGACY, *loaders.ONE]:
        assert any(loaders.matches([pattern], name) for name in names), pattern
    for patterns in loaders.ELSEWHERE:
        for pattern in patterns.split("|"):
            assert any(re.fullmatch(pattern, name) for name in FILES), pattern


def test_who_runs_by_which():
    os.environ["WIPYD_SAN"] = os.environ["WIPYD_VALGRIND"] = ""
    assert loaders.loaders_of("test_interrupted.test_unplug_while_write") == ["rom", "stub", "legacy"]
    assert loaders.loaders_of("test_interrupted.test_unplug_while_load_stub") == ["stub"]
    assert loaders.loaders_of("test_interrupted.test_unplug_while_plan") == ["rom", "stub"]
    assert loaders.loaders_of("test_bus.test_anything") == [None]
    os.environ["WIPYD_SAN"] = "1"
    chosen = [loaders.loaders_of(f"test_chaos.test_{i}") for i in range(20)]
    assert ["rom"] in chosen and ["stub"] in chosen, chosen
