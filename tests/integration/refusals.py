"""What a refusal is: an error name of its own, a sentence with the facts, a hint, an exit code, and a flash that is
untouched or a job that can be repeated. For the tests of bad input, test_refusals*.py."""
import re

import packages
from harness import OURS, error_rows

KB200 = dict(app_bytes=200_000)
ROWS = error_rows()


def check_refusal(bench, result, error, *facts, code=1, job="/org/wipyd1/job/1"):
    """What the person, and what the program on the bus is told. Gives the job's properties."""
    sentence, hint = ROWS[error]
    assert result.code == code, result
    assert sentence in result.err, (sentence, result)
    assert not hint or f"hint: {hint}" in result.err, (hint, result)
    for fact in facts:
        assert re.search(fact, result.err), (fact, result)
    if not job:
        return None
    told = bench.job(job)
    assert told["Error"] == OURS + error and told["State"] in ("failed", "cancelled"), told
    assert told["ErrorText"] and told["FinishedAt"] >= told["StartedAt"] > 0, told
    for fact in facts:
        assert re.search(fact, told["ErrorText"]), (fact, told["ErrorText"])
    return told


def check_repeat(bench, package, before):
    """The same once more, now that nothing is in the way."""
    bench.flash_well(package)
    got = bench.board.flash()
    assert got == packages.expected_flash(package, bench.board.flash_bytes, before)


def check_untouched(bench, before):
    status = bench.board.status()
    assert bench.board.begins() == status["sectors_erased"] == status["pages_programmed"] == 0, status
    assert bench.board.flash() == before
