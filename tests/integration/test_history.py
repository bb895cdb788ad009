"""What was done and decided, and by whom: the history as table, JSON and CSV, and every decision made again from its record.
"""
import csv
import datetime
import io
import os
import random
import sqlite3
import subprocess
import time

from harness import BUILD, DEVICE, JOB, MB, OURS, SLOWNESS, Skip, Variant, run_seed, takes, wait_for
from own_data import BLANK, lived_in
from test_own_data import ASK, Life, board_options, change, device, is_idle, mac_of, plug
from test_plug import MANAGER, ROOT, jobs, set_policy, usb_bench, wait_rule

DAY_US = 24 * 3600 * 1_000_000
ME = f"uid {os.getuid()}"
COLUMNS = ["id", "started", "finished", "kind", "state", "device", "slot", "mac", "by", "user", "package", "sha256", "board",
           "from", "to", "confirmed", "bytes", "bytes_total", "baud", "loader", "warning", "retries", "attempts", "phase", "error", "error_text",
           "dry_run"]


def told(bench, *arguments):
    result = bench.ctl("history", *arguments)
    assert result.code == 0 and result.err == "", result
    return result


def ids(bench, *arguments):
    return [job["id"] for job in told(bench, *arguments, "--json").json]


def the_end(bench, id_, seconds=30):
    def ended():
        job = next(job for job in jobs_of_all_kinds(bench) if job["id"] == id_)
        return job if job["state"] in ("done", "failed", "cancelled") else None
    return wait_for(ended, seconds, f"the end of job {id_}")


def jobs_of_all_kinds(bench, **query):
    return bench.bus.call(ROOT, MANAGER, "History", "a{sv}", query)[0]


def newest(bench):
    return jobs_of_all_kinds(bench)[0]["id"]


# ---- the jobs of a day -----------------------------------------------------------------------------------------------

def flash_by_policy(bench, board):
    """One block is refused once."""
    board.fault("on=DEFL_DATA,nth=3 do=refuse,07")
    set_policy(bench, "wipy", slot=board.port)
    wait_for(lambda: jobs(bench), 10, "a job by policy")
    job = the_end(bench, newest(bench))
    set_policy(bench, "ask", slot=board.port)
    return {**row(board, 0, "done", 1), "by": "policy", "from": "1.17.3.b1", "to": "1.20.1.r1", "retries": 1,
            "package": "new.tar.gz", "id": job["id"]}


def flash_cut_off_once(bench, board, package):
    """At a rate that was wished for."""
    board.fault("on=DEFL_DATA,nth=3,moment=mid-frame do=unplug")
    assert bench.ctl("flash", board.port, package, "--baud=230400", "--no-block").code == 0
    id_ = newest(bench)
    wait_for(lambda: not board.status()["plugged"], 10, "the unplug")
    bench.unplug(board)
    wait_for(lambda: jobs(bench)[0]["state"] == "interrupted", 10, "the job is cut off")
    assert told(bench, "--json").json[0]["state"] == "interrupted"
    plug(bench, board, name="ttyUSB7")
    the_end(bench, id_)
    return {**row(board, 1, "done", 2), "by": ME, "from": "1.17.3.b1", "to": "1.18.1.r1", "baud": 230400,
            "package": "old.tar.gz", "id": id_}


def cancel(bench, board):
    board.fault("clear")
    board.fault("on=DEFL_DATA,nth=1 do=delay-reply,1000")
    path, = bench.bus.call(bench.device_path(board), DEVICE, "Flash", "a{sv}", {"version": Variant("s", "1.20.1.r1")})
    wait_for(lambda: bench.job(path)["Phase"] == "write", 10, "the first block")
    bench.bus.call(path, JOB, "Cancel")
    bench.wait_job(path)
    return {**row(board, 1, "cancelled", 1), "by": ME, "from": "1.18.1.r1", "to": "1.20.1.r1", "phase": "write",
            "error": OURS + "Cancelled", "id": newest(bench)}


def refuse(bench, board, package):
    result = bench.ctl("flash", board.port, package)
    assert result.code == 1, result
    return {**row(board, 0, "failed", 1), "by": ME, "from": "1.20.1.r1", "to": "1.20.1.r1", "board": "LoPy4", "bytes": 0,
            "error": OURS + "WrongBoard", "phase": "plan", "id": newest(bench)}


def dry_run(bench, board):
    assert bench.ctl("flash", board.port, "1.18.1.r1", "--dry-run").code == 0
    return {**row(board, 0, "done", 1), "by": ME, "to": "1.18.1.r1", "dry-run": True, "bytes": 0, "id": newest(bench)}


def identify(bench, board):
    assert bench.ctl("info", board.port).code == 0
    return {**row(board, 0, "done", 1), "kind": "identify", "to": "", "by": ME, "bytes-total": 0, "id": newest(bench)}


def put_back(bench, board):
    """What was saved of the board before its first flash; somebody has wiped it since."""
    change(bench, board, BLANK * board.flash_bytes)
    assert bench.ctl("backup", "restore", board.port).code == 0
    return {**row(board, 0, "done", 1), "kind": "restore", "to": "", "by": ME, "bytes": 0x8000, "bytes-total": 0x8000,
            "id": newest(bench)}


def row(board, number, state, attempts):
    return {"kind": "flash", "state": state, "device": board.port, "mac": mac_of(number), "attempts": attempts,
            "dry-run": False}


def a_day(bench):
    """Does all of it; what the history must say, newest first."""
    first, second = bench.boards
    new = bench.package("new.tar.gz", release="1.20.1.r1", app_bytes=190_000)
    old = bench.package("old.tar.gz", release="1.18.1.r1", app_bytes=180_000)
    foreign = bench.package("foreign.tar.gz", board="LoPy4", app_bytes=50_000)
    bench.import_firmware(new)
    bench.import_firmware(old)
    for board in bench.boards:
        plug(bench, board)
        wait_rule(bench, "ask", board.port)
    wanted = [flash_by_policy(bench, first), flash_cut_off_once(bench, second, old), cancel(bench, second),
              refuse(bench, first, foreign), dry_run(bench, first), identify(bench, first), put_back(bench, first)]
    assert [job["id"] for job in wanted] == [1, 2, 3, 4, 5, 6, 7]
    for job, board in zip(wanted, [first, second, second, first, first, first, first]):
        job["slot"], job["device"] = bench.slot(board), board.port
    return wanted[::-1]


def check_table(bench, wanted):
    lines = told(bench).out.splitlines()
    head, lines = lines[0].split(), lines[1:1 + len(wanted)]
    assert head == ["JOB", "BEGUN", "DEVICE", "MAC", "WHAT", "FROM", "TO", "STATE", "TOOK", "BY", "DETAILS"], head
    for line, job in zip(lines, wanted, strict=True):
        words = line.split()
        assert words[0] == str(job["id"]) and {job["mac"], job["kind"], job["state"], job["device"]} <= set(words), line
        assert ("policy" in words) == (job["by"] == "policy") and ("dry run" in line) == job["dry-run"], line
        for key in "from", "to":
            assert job.get(key, "") in words or not job.get(key), (key, line)


def check_csv(bench, rows):
    """The same as JSON, value by value."""
    found = list(csv.reader(io.StringIO(told(bench, "--csv").out)))
    assert found[0] == COLUMNS and len(found) == len(rows) + 1
    words = {True: "yes", False: "no", None: ""}
    for line, job in zip(found[1:], rows):
        assert list(job) == COLUMNS
        assert line == [words[v] if v is None or isinstance(v, bool) else str(v) for v in job.values()], (line, job)


def days_ago(bench, id_, days):
    """As if that job had begun so long ago; while no daemon runs."""
    with sqlite3.connect(bench.state / "wipyd.db") as db:
        changed = db.execute("UPDATE job SET started_us = started_us - ?1, finished_us = finished_us - ?1 WHERE id = ?2",
                             (days * DAY_US, id_)).rowcount
    db.close()
    assert changed == 1


@takes(12)
def test_the_jobs_of_a_day():
    with usb_bench([board_options(0, lived_in(4 * MB, 60)), board_options(1, lived_in(8 * MB, 61))], config=ASK) as bench:
        begun = time.time_ns() // 1000
        wanted = a_day(bench)
        found = jobs_of_all_kinds(bench)
        for job, expected in zip(found, wanted, strict=True):
            assert {key: job[key] for key in expected} == expected, (job, expected)
            assert begun <= job["started"] <= job["finished"] <= time.time_ns() // 1000, job
            assert job["bytes"] <= job["bytes-total"] and job["baud"] >= 115200, job
            assert bool(job["error-text"]) == bool(job["error"]), job
            if job["state"] == "done" and job["kind"] == "flash" and not job["dry-run"]:
                assert job["bytes"] == job["bytes-total"] > 150_000 and len(job["sha256"]) == 64, job
                assert job["board"] == "WiPy" and job["phase"] == "done", job

        rows = told(bench, "--json").json
        assert [row["id"] for row in rows] == [7, 6, 5, 4, 3, 2, 1]
        for row_, job in zip(rows, found):
            for key in set(job) - {"started", "finished"}:
                assert row_[key.replace("-", "_")] == job[key], (key, row_, job)
            for key in "started", "finished":
                at = datetime.datetime.fromisoformat(row_[key].replace("Z", "+00:00")).timestamp()
                assert abs(at - job[key] / 1e6) < 0.002, (key, row_, job)
        check_table(bench, wanted)
        check_csv(bench, rows)

        first, second = bench.boards
        assert bench.ctl("label", first.port, "corner").code == 0
        for name, numbers in ((mac_of(0), [7, 6, 5, 4, 1]), (mac_of(1), [3, 2]), ("corner", [7, 6, 5, 4, 1])):
            assert ids(bench, "--board", name) == numbers, name
        for name, numbers in ((bench.slot(first), [7, 6, 5, 4, 1]), (second.port, [3, 2])):
            assert ids(bench, "--slot", name) == numbers, name
        assert ids(bench, "--limit=2") == [7, 6] and ids(bench, "--board", mac_of(1), "--slot", first.port) == []
        since = found[3]["started"]
        assert [job["id"] for job in jobs_of_all_kinds(bench, since=Variant("t", since))] == [7, 6, 5, 4]

        bench.stop_wipyd()
        days_ago(bench, 1, 10)
        days_ago(bench, 2, 3)
        bench.start_wipyd()
        assert ids(bench, "--since=2h") == [7, 6, 5, 4, 3] and ids(bench, "--since=5d") == [7, 6, 5, 4, 3, 2]
        assert ids(bench, "--since=3w") == [7, 6, 5, 4, 3, 2, 1] and ids(bench, "--since=5d", "--board", mac_of(1)) == [3, 2]


# ---- decisions -------------------------------------------------------------------------------------------------------

def recorded(bench):
    """Every decision in the database, in order: (device, event, verdict, rule, state)."""
    db = sqlite3.connect(f"file:{bench.state / 'wipyd.db'}?mode=ro", uri=True)
    try:
        return db.execute("SELECT device, event, verdict, rule, state FROM decision ORDER BY id").fetchall()
    finally:
        db.close()


def replay(states):
    """What the daemon's own rules make of them now: [(verdict, rule)]."""
    tool = BUILD / "unit/decision_tool"
    if not tool.exists():
        raise Skip(f"{tool} has not been built")
    done = subprocess.run([tool], input="".join(state + "\0" for state in states).encode(), capture_output=True,
                          timeout=30 * SLOWNESS)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and "not a state" not in lines, (done.returncode, done.stderr)
    return [tuple(line.split()) for line in lines]


def check_replay(bench):
    found = recorded(bench)
    for device_, event, verdict, rule, state in found:
        assert device_ and event and "is_present=" in state and "policy=" in state, (device_, event, rule, state)
    for decision, again in zip(found, replay([decision[4] for decision in found]), strict=True):
        assert decision[2:4] == again, (decision, again)
    return found


def test_a_replay_can_fail():
    """The tool reads what it is given, and says so when it is nothing."""
    assert replay(["is_present=0\n", "is_present=1\nis_handled=0\n"]) == [("leave", "absent"), ("leave", "adapter-unhandled")]
    tool = BUILD / "unit/decision_tool"
    for text in b"", b"nonsense", b"is_present=2\n", b"is_present=1\nis_present=1\n":
        done = subprocess.run([tool], input=b"is_present=0\n\0" + text + b"\0", capture_output=True, timeout=30 * SLOWNESS)
        assert done.returncode == 1 and done.stdout == b"leave absent\nnot a state\n", (text, done)


@takes(15)
def test_decisions_of_a_busy_bench_are_made_again_from_their_records():
    seed = run_seed()
    print(f"WIPYD_SEED={seed}")
    flashes = [lived_in(4 * MB, seed), lived_in(8 * MB, seed, is_old=False), BLANK * 4 * MB, lived_in(8 * MB, seed + 1)]
    with usb_bench([board_options(i, flash) for i, flash in enumerate(flashes)], config=ASK) as bench:
        life = Life(bench, random.Random(seed))
        while life.n_events < 25:
            life.step()
        for i, board in enumerate(bench.boards):
            board.fault("clear")
            if not life.plugged[i]:
                life.plug(i)
        for policy in "off", "any", "wipy", "ask":
            set_policy(bench, policy)
            time.sleep(0.2)
        wait_for(lambda: all(is_idle(bench, board) for board in bench.boards), 30, "all jobs are over")
        set_policy(bench, "wipy", mac=mac_of(0))
        told_ = [bench.ctl("explain", board.port, "--json").json for board in bench.boards]
        for board in bench.boards:  # they run their firmware now
            board.ask("jumper off")
            bench.replug(board)
        wait_for(lambda: all((device(bench, b) or {}).get("Seen") not in (None, "nothing") for b in bench.boards), 15, "looks")
        for board in bench.boards:
            bench.unplug(board)
        wait_for(lambda: not any(device(bench, board) for board in bench.boards), 10, "all unplugged")
        assert all(one["rule"] and one["facts"] for one in told_), told_
        listed = bench.bus.call(ROOT, MANAGER, "Decisions", "a{sv}", {"limit": Variant("u", 10_000)})[0]
        assert all(one["text"].endswith((".", "?", "!")) for one in listed), [one for one in listed if not one["text"]]
        bench.stop_wipyd()
        found = check_replay(bench)
        assert [one["rule"] for one in listed] == [decision[3] for decision in found][::-1]
        rules = {decision[3] for decision in found}
        print(len(found), sorted(rules))
        assert {"absent", "settling", "not-looked-at", "policy-off", "ask"} <= rules, rules
        assert len(rules) >= 8 and len(found) >= 60, (len(found), rules)
