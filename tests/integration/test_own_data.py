"""What is a board's own stays its own: config block and NVS through flashes, cancels, unplugs and dying daemons, and back
again from a backup. Boards on the simulated USB; nothing here may be told by luck, so every run prints its seed.
"""
import contextlib
import os
import random
import time

import packages
from harness import DEVICE, JOB, MB, OURS, DBusError, Variant, takes, wait_for
from own_data import BLANK, CONFIG, NVS, lived_in, own
from test_firmware_disk import small_disk
from test_plug import MANAGER, ROOT, jobs, usb_bench, wait_rule

ASK = "[boards]\nsettle = 20\nlisten = 60\nsyncs = 3\npolicy = ask\n"
OPEN_STATES = ("queued", "running", "waiting", "interrupted")
PARTS = {"config": CONFIG, "nvs": NVS}


def mac_of(number):
    return f"30:ae:a4:00:00:{number + 1:02x}"


def board_options(number, flash):
    return dict(flash=flash, flash_bytes=len(flash), options=("--fast", "--mac", mac_of(number)))


def plug(bench, board, **where):
    board.ask("jumper on")
    bench.plug(board, **where)
    wait_for(lambda: board.status()["state"] == "download", 5, "download mode")
    wait_for(lambda: device(bench, board), 5, f"{board.port} is known")


def device(bench, board):
    with contextlib.suppress(DBusError):
        return bench.device(board)
    return None


def is_idle(bench, board):
    found = device(bench, board)
    return found and found["Job"] == "/"


def same(flash, before, area=slice(None)):
    """Like ==, but a difference of 8 MB is told in a line."""
    if flash[area] == before[area]:
        return True
    at = next(i for i, (a, b) in enumerate(zip(flash[area], before[area])) if a != b)
    raise AssertionError(f"0x{(area.start or 0) + at:x}: 0x{flash[area][at]:02x} instead of 0x{before[area][at]:02x}")


# ---- backups ---------------------------------------------------------------------------------------------------------

def backups(bench, mac=""):
    """Newest first: (mac, name, {part: bytes}), read through the daemon."""
    found = []
    for mac_, name, saved_us, parts in bench.bus.call(ROOT, MANAGER, "ListBackups", "s", mac)[0]:
        contents = {}
        for part, fd in bench.bus.call(ROOT, MANAGER, "OpenBackup", "ss", mac_, name)[0]:
            with os.fdopen(fd, "rb") as file:
                contents[part] = file.read()
        assert {part: len(contents[part]) for part in contents} == dict(parts), (mac_, name, parts)
        assert abs(saved_us / 1e6 - time.time()) < 3600, saved_us
        found.append((mac_, name, contents))
    return found


def check_backup_files(bench, n_boards):
    """For their owner only, all of them whole, nothing half saved."""
    top = bench.state / "backup"
    assert len(os.listdir(top)) == n_boards
    for folder, folders, files in os.walk(top):
        assert os.stat(folder).st_mode & 0o777 == 0o700, folder
        assert not [name for name in folders + files if name.startswith(".")], folder
        for name in files:
            assert os.stat(os.path.join(folder, name)).st_mode & 0o777 == 0o600, (folder, name)


# ---- 200 events ------------------------------------------------------------------------------------------------------

class Life:
    """What may happen to four boards on a bench, at random. The first three are given scripts in their object form only:
    those name no NVS, so it stays. The last is also given the list form, whose own words erase NVS and never the config
    block: there each sector of NVS is as it was or erased, and a backup has it."""

    FILES = {"1.20.0.rc13": ("object", 60_000), "1.20.1.r1": ("both", 150_000), "1.20.2.r4": ("object", 110_000)}
    LISTS = {"1.17.5.b6": ("list", 90_000), "1.18.1.r1": ("list", 70_000)}
    HANDED_OVER = {"1.20.3.b4": ("object", 200_000)}

    def __init__(self, bench, rng):
        self.bench, self.rng = bench, rng
        self.before = [board.flash() for board in bench.boards]
        self.packages = {}
        for release, (shape, size) in {**self.FILES, **self.LISTS, **self.HANDED_OVER}.items():
            self.packages[release] = bench.package(f"{release}.tar.gz", release=release, shape=shape, app_bytes=size)
            if release not in self.HANDED_OVER:
                bench.import_firmware(self.packages[release])
        self.steps = {}      # (release, flash_bytes): what the package means
        self.begun = {}      # job: (board, release)
        self.cancelled, self.lost_cancels = set(), set()
        self.ended = {}      # job: state
        self.plugged = [True] * len(bench.boards)
        self.slots = [f"1-{i + 1}" for i in range(len(bench.boards))]
        self.names = 0
        self.counts = dict.fromkeys(["flash", "file", "cancel", "unplug", "cut", "reset", "stop", "kill"], 0)
        self.trace = []
        for i in range(len(bench.boards)):
            self.plug(i)

    def note(self, what, *more):
        self.counts[what] += 1
        self.trace.append((what, *more))

    @property
    def n_events(self):
        return sum(self.counts[what] for what in ("flash", "file", "cancel", "unplug", "cut"))

    # ---- truth ----
    def look(self):
        """Every job that has ended since: is what is said of it true?"""
        for job in jobs(self.bench):
            id_ = job["id"]
            if job["state"] in OPEN_STATES:
                assert id_ not in self.ended, f"job {id_} was {self.ended[id_]}, and is {job['state']}"
                continue
            if id_ in self.ended:
                assert self.ended[id_] == job["state"], (self.ended[id_], job)
                continue
            self.ended[id_] = job["state"]
            self.check_end(job)

    def check_end(self, job):
        i, release = self.begun[job["id"]]
        assert job["finished"] >= job["started"] and job["attempts"] >= (job["state"] == "done"), job
        if job["state"] == "done":
            assert not job["error"] and job["mac"] == mac_of(i) and job["to"] == release, job
            if max(id_ for id_, (board, _) in self.begun.items() if board == i) == job["id"]:
                self.check_written(i, release)
        elif job["state"] == "cancelled":
            assert job["id"] in self.cancelled and job["error"] == OURS + "Cancelled", job
        else:
            words = ("Superseded", "TooManyAttempts", "ChipReset", "Silence")
            assert job["error"] in [OURS + word for word in words] and job["error-text"], job

    def check_written(self, i, release):
        flash = self.bench.boards[i].flash()
        key = release, len(flash)
        if key not in self.steps:
            self.steps[key] = packages.expected_steps(self.packages[release], len(flash))
        erases, writes = self.steps[key]
        wanted = bytearray(flash)
        for offset, size in erases:
            begin, end = offset // 0x1000 * 0x1000, -(-(offset + size) // 0x1000) * 0x1000
            wanted[begin:end] = BLANK * (end - begin)
        for offset, data in writes:
            wanted[offset:offset + len(data)] = data
        assert same(flash, wanted), (i, release)

    def check_own(self, i, is_over=False):
        flash, before = self.bench.boards[i].flash(), self.before[i]
        assert same(flash, before, CONFIG), f"the config block of board {i}"
        if i < 3:
            assert same(flash, before, NVS), f"the NVS of board {i}"
            return
        for at in range(NVS.start, NVS.stop, 0x1000):
            sector = flash[at:at + 0x1000]
            # A sector that is being erased while it is read here is neither.
            assert not is_over or sector in (before[at:at + 0x1000], BLANK * 0x1000), hex(at)

    # ---- events ----
    def open_job(self, i):
        """The job that is under way on the board."""
        found = device(self.bench, self.bench.boards[i])
        return found["Job"] if found and found["Job"] != "/" else None

    def plug(self, i):
        self.names += 1
        name = f"ttyUSB{self.names % 5 * len(self.plugged) + i}"
        plug(self.bench, self.bench.boards[i], name=name, slot=self.slots[i])
        self.plugged[i] = True

    def unplug(self, i):
        self.bench.boards[i].fault("clear")
        self.bench.unplug(self.bench.boards[i])
        self.plugged[i] = False
        # A job that never reached its board belongs to the slot.
        open_jobs = [job for job in jobs(self.bench) if job["state"] in OPEN_STATES and self.begun[job["id"]][0] == i]
        if all(job["mac"] for job in open_jobs) and self.rng.random() < 0.3:
            self.slots[i] = f"{self.rng.randint(1, 2)}-{i + 1}"

    def flash(self, i):
        releases = [*self.FILES, *(self.LISTS if i == 3 else ())]
        board, release = self.bench.boards[i], self.rng.choice(releases)
        is_file = self.rng.random() < 0.3
        if is_file:
            release = self.rng.choice([*releases, *self.HANDED_OVER])
        try:
            if is_file:
                path = self.bench.start_flash(self.packages[release], board)
            else:
                path, = self.bench.bus.call(self.bench.device_path(board), DEVICE, "Flash", "a{sv}",
                                            {"version": Variant("s", release)})
        except DBusError as error:
            assert error.name == OURS + "DeviceBusy", error  # one that was cut off has just gone on
            return
        id_ = int(path.rpartition("/")[2])
        assert id_ not in self.begun, path
        self.begun[id_] = i, release
        self.note("file" if is_file else "flash", i, release, id_)

    def flash_slowly(self, i):
        """Something of it takes its time, so that it can be disturbed there."""
        self.bench.boards[i].fault("clear")
        self.bench.boards[i].fault(f"on=any,nth={self.rng.randint(1, 100)} do=delay-reply,{self.rng.randint(200, 600)}")
        self.flash(i)

    def cancel(self, i, path):
        try:
            self.bench.bus.call(path, JOB, "Cancel")
        except DBusError as error:
            assert error.name in (OURS + "JobFinished", "org.freedesktop.DBus.Error.UnknownObject"), error
            return
        self.cancelled.add(int(path.rpartition("/")[2]))
        self.note("cancel", i, path)

    def cut_in_the_middle(self, i):
        """The cable is pulled at a certain byte of the next job, not whenever we come to it."""
        board, op = self.bench.boards[i], self.rng.choice(["DEFL_BEGIN", "DEFL_DATA", "DEFL_DATA", "MD5", "any"])
        moment = self.rng.choice(["mid-frame", "busy", "request", "reply"])
        board.fault("clear")
        board.fault(f"on={op},nth={self.rng.randint(1, 12)},moment={moment} do=unplug")
        self.flash(i)
        end = time.monotonic() + 1.5
        while board.status()["plugged"] and not is_idle(self.bench, board) and time.monotonic() < end:
            time.sleep(0.01)
        self.note("cut", i, op, moment, not board.status()["plugged"])
        self.unplug(i)

    def restart(self):
        if self.rng.random() < 0.5:
            self.bench.stop_wipyd()
            self.note("stop")
        else:
            self.lost_cancels |= self.cancelled - set(self.ended)
            self.bench.kill_wipyd()
            self.note("kill")
        self.bench.start_wipyd()
        for i, board in enumerate(self.bench.boards):
            if self.plugged[i]:
                wait_for(lambda: device(self.bench, board), 5, f"{board.port} after the start")

    def step(self):
        i, chance = self.rng.randrange(len(self.plugged)), self.rng.random()
        if self.rng.random() < 0.03:
            self.restart()
        elif not self.plugged[i]:
            self.plug(i)
        elif path := self.open_job(i):
            if chance < 0.3:
                self.cancel(i, path)
            elif chance < 0.55:
                self.unplug(i)
                self.note("unplug", i, path)
            elif chance < 0.65:
                self.bench.boards[i].ask("reset")
                self.note("reset", i, path)
        elif chance < 0.7:
            self.flash_slowly(i)
        elif chance < 0.85:
            self.cut_in_the_middle(i)
        else:
            self.unplug(i)
            self.note("unplug", i)
        time.sleep(self.rng.uniform(0, 0.06))
        self.look()
        self.check_own(i)


@takes(60, limit=240)
def test_200_flashes_cancels_and_unplugs_leave_config_and_nvs_as_they_were():
    seed = int(os.environ.get("WIPYD_SEED", random.randrange(1 << 32)))
    print(f"WIPYD_SEED={seed}")
    rng = random.Random(seed)
    flashes = [lived_in(4 * MB, seed), lived_in(8 * MB, seed, is_old=False), lived_in(4 * MB, seed + 1, is_old=False),
               lived_in(8 * MB, seed + 1)]
    with usb_bench([board_options(i, flash) for i, flash in enumerate(flashes)], config=ASK) as bench:
        life = Life(bench, rng)
        try:
            while life.n_events < 200:
                life.step()
            finish(life)
        except BaseException:
            print(*life.trace[-60:], sep="\n")
            raise
        print(life.counts)


def finish(life):
    """Whatever was cut off goes on by itself; then everything is looked at."""
    bench = life.bench
    for i, board in enumerate(bench.boards):
        board.fault("clear")
        if not life.plugged[i]:
            life.plug(i)
    wait_for(lambda: not [job for job in jobs(bench) if job["state"] in OPEN_STATES], 40, "all jobs are over")
    life.look()
    found = bench.bus.call(ROOT, MANAGER, "History", "a{sv}", {})[0]
    assert sorted(job["id"] for job in found) == sorted(life.begun) == list(range(1, len(life.begun) + 1))
    assert {job["by"] for job in found} == {f"uid {os.getuid()}"}
    assert {job["kind"] for job in found} == {"flash"}
    for job in found:
        if job["id"] in life.cancelled - life.lost_cancels:
            assert job["state"] in ("cancelled", "done"), job

    wanted = life.packages["1.20.2.r4"]
    for i, board in enumerate(bench.boards):
        life.check_own(i, is_over=True)
        before = board.flash()
        job = bench.flash_well(wanted, board)
        assert job["Mac"] == mac_of(i)
        assert same(board.flash(), packages.expected_flash(wanted, board.flash_bytes, before))
        life.check_own(i, is_over=True)

        saved = backups(bench, mac_of(i))
        config, nvs = own(life.before[i])
        assert saved and saved[-1][2]["config"] == config and saved[-1][2]["nvs"] == nvs, saved
        for _, name, parts in saved:
            assert set(parts) == {"config", "nvs", "otadata"} and len(parts["otadata"]) == 0x1000, name
            assert same(parts["config"], config), name
            if i < 3:
                assert same(parts["nvs"], nvs), name
    check_backup_files(bench, len(bench.boards))
