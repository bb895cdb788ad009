"""A workshop on its worst day: boards are plugged, pulled out, moved, renamed and reset while the policy flashes them, and
jobs are cancelled. When it is quiet again every board has its firmware, and the daemon has lost nothing.
"""
import contextlib
import os
import random
import time

import packages
from harness import DEVICE, FINAL, JOB, MB, Bench, DBusError, lived_in_flash, run_seed, takes, wait_for
from test_armed import arm
from test_plug import QUICK, is_there, jobs, the_job, usb_bench, wait_rule

N_BOARDS = 12
CHAOS_S = 25
# Enough for all that happens to one board.
CONFIG = "[flash]\nattempts = 100\n" + QUICK.replace("listen = 150", "listen = 60")


class Workshop:
    def __init__(self, bench, rng, befores):
        self.bench, self.rng, self.befores = bench, rng, befores
        self.plugged, self.slots, self.names = [], [f"1-{i + 1}" for i in range(N_BOARDS)], list(range(N_BOARDS + 4))
        self.done = dict.fromkeys(("plug", "unplug", "rename", "move", "reset", "cancel", "change"), 0)

    def plug(self, board, slot=None):
        slot = slot or self.rng.choice(self.slots)
        number = self.rng.choice(self.names)
        self.slots.remove(slot)
        self.names.remove(number)
        if self.rng.random() < 0.3:  # somebody has erased it meanwhile
            board.flash_path.write_bytes(b"\xff" * 4 * MB)
            self.befores[self.bench.boards.index(board)] = b"\xff" * 4 * MB
        self.bench.plug(board, slot=slot, name=f"ttyUSB{number}", serial="0001")
        self.plugged.append(board)

    def unplug(self, board):
        words = f"name={board.socket['name']} slot={board.socket['slot']}"
        steps = [lambda: board.ask("unplug"), lambda: self.bench.usb.ask(f"remove {words}")]
        if self.rng.random() < 0.3:
            steps.reverse()  # the event may come before the tty hangs up
        for step in steps:
            step()
        self.plugged.remove(board)
        self.slots.append(board.socket["slot"])
        self.names.append(int(board.socket["name"][6:]))

    def free(self):
        return [board for board in self.bench.boards if board not in self.plugged]

    def cancel(self):
        running = [path for path, what in self.bench.bus.managed().items()
                   if JOB in what and what[JOB]["State"] not in FINAL]
        if not running:
            return False
        try:
            self.bench.bus.call(self.rng.choice(running), JOB, "Cancel")
        except DBusError as error:
            assert error.name.endswith((".JobFinished", ".UnknownObject")), error
        return True

    def step(self):
        what = self.rng.choices(list(self.done), (40, 16, 8, 6, 10, 4, 8))[0]
        if what == "plug":
            if not self.free():
                return
            self.plug(self.rng.choice(self.free()))
        elif what == "cancel":
            if not self.cancel():
                return
        elif not self.plugged:
            return
        else:
            board = self.rng.choice(self.plugged)
            if what == "unplug":
                self.unplug(board)
            elif what == "rename":
                self.unplug(board)
                self.plug(board, board.socket["slot"])
            elif what == "move":
                self.unplug(board)
                self.plug(board)
            elif what == "reset":
                board.ask("reset")
            else:
                self.bench.usb.ask(f"event name={board.socket['name']} slot={board.socket['slot']} action=change")
        self.done[what] += 1


@takes(8)
def test_a_flash_that_was_cancelled_takes_back_the_one_before():
    with usb_bench() as bench:
        board = bench.board
        package = bench.package(app_bytes=150_000)
        bench.import_firmware(package)
        board.ask("jumper on")
        bench.plug(board)
        the_job(bench)
        bench.unplug(board)
        flash = bytearray(board.flash())
        flash[0x30000:0x34000] = bytes(0x4000)  # behind the image's names
        board.flash_path.write_bytes(flash)
        bench.plug(board)
        wait_rule(bench, "up-to-date")  # by its name, and by the records
        board.fault("on=DEFL_DATA,times=1000 do=delay-reply,100")
        path, = bench.bus.call(bench.device_path(), DEVICE, "Flash", "a{sv}", {})
        wait_for(lambda: bench.job(path)["Phase"] == "write", 10, "it is written to")
        bench.bus.call(path, JOB, "Cancel")
        assert bench.wait_job(path)["State"] == "cancelled"
        told = wait_rule(bench, "ended")
        assert told["Advice"] == "Plug the board in again, or flash it with wipyctl flash.", told
        board.ask("fault clear")
        bench.replug(board)
        wait_for(lambda: len(jobs(bench)) == 3 and jobs(bench)[0]["state"] == "done", 20, "it is flashed again")
        assert board.flash() == packages.expected_flash(package, 4 * MB, b"\xff" * 4 * MB)


def open_files(bench):
    """But for sockets: umockdev's preload library keeps some of its own open."""
    folder, found = f"/proc/{bench.wipyd.pid}/fd", []
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"{folder}/{fd}"))
    return sorted(name for name in found if not name.startswith("socket:"))


def mac(i):
    return f"30:ae:a4:00:01:{i:02x}"


def quiet(bench, is_right, wanted):
    """Until every board is, and no job is under way or waits."""
    def open_jobs():
        told = {path: what[JOB]["State"] for path, what in bench.bus.managed().items() if JOB in what}
        return {path: word for path, word in told.items() if word not in FINAL}

    def wrong():
        return [i for i in range(N_BOARDS) if not is_right(i)]

    # What was cut off goes on with the package that it had; the newer one is for the next time.
    again = set()

    def is_quiet():
        for i in wrong():
            board = bench.boards[i]
            if i not in again and (is_there(bench, board.port) or {}).get("Rule") in ("awaiting-start", "wire-left-on"):
                again.add(i)
                bench.replug(board)
        return not wrong() and not open_jobs()

    try:
        wait_for(is_quiet, 60, "every board is flashed")
    except AssertionError:
        for i in wrong():
            told = is_there(bench, bench.boards[i].port) or {}
            print([hex(at) for at in range(0, 4 * MB, 4096) if bench.boards[i].flash()[at:at + 4096] != wanted[i][at:at + 4096]])
            print(mac(i), {key: told.get(key) for key in ("Name", "Slot", "Rule", "Reason", "Mac", "Seen")})
        print(open_jobs(), [(job["id"], job["mac"], job["state"], job["error-text"]) for job in jobs(bench)
                            if job["state"] != "done"])
        raise


def chaos(is_armed):
    seed = run_seed()
    print(f"WIPYD_SEED={seed}")
    # One that is started with half of another layout on it writes its selector somewhere.
    befores = [lived_in_flash(4 * MB, seed=i) if i % 2 and not is_armed else b"\xff" * 4 * MB for i in range(N_BOARDS)]
    boards = [dict(download=False, flash=before, options=("--fast", "--mac", mac(i))) for i, before in enumerate(befores)]
    with Bench(boards=boards, usb=True, lines=is_armed, config=CONFIG) as bench:
        bench.import_firmware(bench.package("old.tar.gz", release="1.19.0.r1", app_bytes=150_000))
        package = bench.package(app_bytes=150_000)
        files = open_files(bench)
        for board in bench.boards:
            board.ask("jumper off" if is_armed else "jumper on")
            board.fault("on=DEFL_DATA,times=100000 do=delay-reply,50")
        workshop = Workshop(bench, random.Random(seed), befores)
        for board in bench.boards:
            workshop.plug(board)
            if is_armed:
                wait_for(lambda board=board: is_there(bench, board.port), 10, "the device")
                arm(bench, board.port)
        for _ in range(2):
            end = time.monotonic() + CHAOS_S / 2
            while time.monotonic() < end:
                workshop.step()
                time.sleep(workshop.rng.choice((0, 0.02, 0.1, 0.3)))
            bench.import_firmware(package)  # in the midst of it
        print(workshop.done, [(job["state"], job["attempts"]) for job in jobs(bench)])
        assert min(workshop.done.values()) > 0, workshop.done

        # Quiet: once more each, since what was cancelled isn't begun again before.
        for board in list(workshop.plugged):
            workshop.unplug(board)
        for board in bench.boards:
            board.ask("fault clear")
            workshop.plug(board)
        wanted = [packages.expected_flash(package, 4 * MB, before) for before in befores]

        def is_right(i):
            flash = bench.boards[i].flash()
            offset, size = packages.find_otadata(wanted[i][0x8000:0x8C00])
            if is_armed:  # the bootloader writes its selector
                flash = flash[:offset] + wanted[i][offset:offset + size] + flash[offset + size:]
            return flash == wanted[i]

        quiet(bench, is_right, wanted)
        for i, board in enumerate(bench.boards):
            wait_for(lambda board=board: is_there(bench, board.port)["Release"] == "1.20.1.r1", 10, f"what {board.name} has")
        done = {job["mac"] for job in jobs(bench) if job["state"] == "done"}
        assert done == {mac(i) for i in range(N_BOARDS)}, done
        for board in bench.boards:
            workshop.unplug(board)
        try:
            wait_for(lambda: len(open_files(bench)) <= len(files), 10, "no more files are open than before")
        except AssertionError:
            print(files, open_files(bench), sep="\n")
            raise
        assert bench.ctl("list", "--json").json in ([], {"devices": []})


@takes(60)
def test_plugging_without_end_while_the_policy_flashes():
    chaos(is_armed=False)


@takes(60)
def test_plugging_without_end_in_armed_slots():
    chaos(is_armed=True)
