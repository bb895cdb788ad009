"""What is a board's own stays its own: config block and NVS through flashes, cancels, unplugs and dying daemons, and back
again from a backup. Boards on the simulated USB; nothing here may be told by luck, so every run prints its seed.
"""
import contextlib
import os
import random
import time

import packages
from harness import DEVICE, JOB, MB, OURS, Bench, DBusError, Variant, run_seed, takes, wait_for
from own_data import BLANK, CONFIG, NVS, lived_in, own
from test_firmware_disk import small_disk
from test_plug import MANAGER, ROOT, jobs, usb_bench

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
            # One that was cut off has just gone on; or udev hasn't told yet that it was unplugged.
            assert error.name in (OURS + "DeviceBusy", OURS + "PortGone"), error
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
    seed = run_seed()
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
            print(*[job for job in jobs(bench) if job["state"] in OPEN_STATES], sep="\n")
            for board in bench.boards:
                print(board.status(), device(bench, board), sep="\n")
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


# ---- restore ---------------------------------------------------------------------------------------------------------

APP = dict(release="1.20.1.r1", app_bytes=60_000)
TABLES = {4 * MB: packages.TABLE_4MB, 8 * MB: packages.TABLE_8MB}


def otadata_of(flash_bytes):
    """Where it is once the package of 1.20 is on the board."""
    offset, size = next((o, s) for label, _, _, o, s in TABLES[flash_bytes] if label == "otadata")
    return slice(offset, offset + size)


@contextlib.contextmanager
def saved_bench(*sizes, bench=None):
    """Boards that were flashed, so that what they had is saved. Gives the bench and their flashes before that."""
    flashes = [lived_in(size, 40 + i) for i, size in enumerate(sizes or [4 * MB])]
    with bench or usb_bench([board_options(i, flash) for i, flash in enumerate(flashes)], config=ASK) as bench:
        package = bench.package(**APP)
        for board, before in zip(bench.boards, flashes):
            plug(bench, board)
            bench.flash_well(package, board)
            assert own(board.flash()) == own(before)
        yield bench, flashes


def change(bench, board, flash, **options):
    """As somebody else would: unplugged, and another flash when it is back."""
    bench.unplug(board)
    board.flash_path.write_bytes(flash)
    plug(bench, board, **options)
    wait_for(lambda: (device(bench, board) or {}).get("Mac"), 10, f"who is on {board.port}")


def with_areas(flash, changes):
    flash = bytearray(flash)
    for area, data in changes:
        flash[area] = data
    return bytes(flash)


def noise(area, seed):
    return random.Random(seed).randbytes(area.stop - area.start)


def restore(bench, *arguments, code=0, error=None):
    """wipyctl backup restore; the job as the history has it."""
    known = {job["id"] for job in jobs(bench, "restore")}
    result = bench.ctl("backup", "restore", *arguments)
    assert result.code == code, result
    job, = [job for job in jobs(bench, "restore") if job["id"] not in known]
    assert job["error"] == (OURS + error if error else ""), job
    assert job["state"] == ("failed" if error else "done"), job
    return job


def end_of(bench, id_, seconds=20):
    def ended():
        job = next(job for job in jobs(bench, "restore") if job["id"] == id_)
        return job if job["state"] not in OPEN_STATES else None
    return wait_for(ended, seconds, f"the end of job {id_}")


@takes(4)
def test_a_wiped_board_gets_config_and_nvs_back_and_the_restore_can_be_undone():
    with saved_bench(4 * MB, 8 * MB) as (bench, flashes):
        for i, (board, before) in enumerate(zip(bench.boards, flashes)):
            wiped = BLANK * len(before)
            change(bench, board, wiped)
            listed, = bench.ctl("backup", "list", mac_of(i), "--json").json
            assert listed["mac"] == mac_of(i) and {row["part"] for row in listed["parts"]} == {"config", "nvs", "otadata"}
            assert listed["name"] in bench.ctl("backup", "list", board.port).out

            job = restore(bench, board.port)
            assert job["mac"] == mac_of(i) and job["by"] == f"uid {os.getuid()}", job
            restored = with_areas(wiped, [(area, before[area]) for area in PARTS.values()])
            assert same(board.flash(), restored)  # no partition table: NVS where every layout has it

            (_, present, parts), (_, first, _) = backups(bench, mac_of(i))
            assert first == listed["name"] and not (parts["config"] + parts["nvs"]).strip(BLANK), present
            restore(bench, board.port, present)
            assert same(board.flash(), wiped)
            restore(bench, mac_of(i), first, "--mac", mac_of(i))
            assert same(board.flash(), restored)
        check_backup_files(bench, 2)


@takes(3)
def test_damaged_config_and_nvs_are_put_right_and_nothing_else_is_touched():
    with saved_bench(8 * MB) as (bench, (before,)):
        board = bench.board
        flashed = board.flash()
        damaged = with_areas(flashed, [(CONFIG, noise(CONFIG, 1)), (NVS, noise(NVS, 2))])
        change(bench, board, damaged)
        restore(bench, board.port)
        assert same(board.flash(), flashed) and own(board.flash()) == own(before)
        begins = board.begins()
        job = restore(bench, board.port, backups(bench)[-1][1])  # it is there already
        assert board.begins() == begins and job["bytes-total"] == 0, job

        for part, area in PARTS.items():
            change(bench, board, damaged)
            restore(bench, board.port, backups(bench)[-1][1], f"--parts={part}")
            assert same(board.flash(), with_areas(damaged, [(area, before[area])])), part


@takes(3)
def test_otadata_goes_where_the_boards_own_table_has_it():
    with saved_bench(4 * MB) as (bench, (before,)):
        board, place = bench.board, otadata_of(4 * MB)
        flashed, name = board.flash(), backups(bench)[0][1]
        saved = before[0x190000:0x191000]  # where 1.18 has it
        assert flashed[place] == BLANK * 0x1000 != saved
        restore(bench, board.port, name, "--parts=otadata")
        assert same(board.flash(), with_areas(flashed, [(place, saved)]))
        change(bench, board, BLANK * 4 * MB)
        restore(bench, board.port, name, "--parts=otadata", code=1, error="BackupInvalid")
        assert same(board.flash(), BLANK * 4 * MB)


@takes(2)
def test_another_boards_backup_is_refused():
    with saved_bench(4 * MB, 4 * MB) as (bench, _):
        _, other = bench.boards
        change(bench, other, BLANK * 4 * MB)
        n_backups, begins = len(backups(bench)), other.begins()
        restore(bench, other.port, "--mac", mac_of(0), code=1, error="OtherBoardsBackup")
        assert other.begins() == begins and same(other.flash(), BLANK * 4 * MB)
        known = next(row for row in bench.ctl("board", "list", "--json").json if row["mac"] == mac_of(1))
        assert known["chip"] and known["flash_bytes"] == 4 * MB, known
        assert len(backups(bench)) == n_backups


def cut_off(bench, board, *arguments):
    """A restore whose cable is pulled in the middle; its id."""
    board.fault("on=DEFL_DATA,moment=mid-frame do=unplug")
    result = bench.ctl("backup", "restore", board.port, *arguments, "--no-block")
    assert result.code == 0, result
    job = jobs(bench, "restore")[0]
    wait_for(lambda: not board.status()["plugged"], 10, "the unplug")
    bench.unplug(board)
    wait_for(lambda: jobs(bench, "restore")[0]["state"] == "interrupted", 10, "the job is cut off")
    return job["id"]


@takes(3)
def test_a_restore_that_is_cut_off_goes_on_by_itself():
    with saved_bench(4 * MB) as (bench, (before,)):
        board = bench.board
        damaged = with_areas(board.flash(), [(CONFIG, noise(CONFIG, 1)), (NVS, noise(NVS, 2))])
        change(bench, board, damaged)
        id_ = cut_off(bench, board)
        plug(bench, board, name="ttyUSB7")
        job = end_of(bench, id_)
        assert job["state"] == "done" and job["attempts"] == 2, job
        assert own(board.flash()) == own(before)
        # What was there when it began is among the generations, whole.
        assert [(p["config"], p["nvs"]) for _, _, p in backups(bench)].count(own(damaged)) == 1


@takes(4)
def test_a_restore_of_some_parts_that_outlives_the_daemon_is_still_of_those():
    for kill in False, True:
        with saved_bench(4 * MB) as (bench, (before,)):
            board = bench.board
            damaged = with_areas(board.flash(), [(CONFIG, noise(CONFIG, 1)), (NVS, noise(NVS, 2))])
            change(bench, board, damaged)
            id_ = cut_off(bench, board, "--parts=nvs")
            if kill:
                bench.kill_wipyd()
            else:
                bench.stop_wipyd()
            bench.start_wipyd()
            plug(bench, board)
            job = end_of(bench, id_)
            assert job["state"] == "done" and job["attempts"] == 2, job
            assert same(board.flash(), with_areas(damaged, [(NVS, before[NVS])]))


@takes(4)
def test_a_backup_that_is_not_whole_is_refused():
    def cut(path):
        os.truncate(path, os.path.getsize(path) - 1)

    def link(path):
        os.rename(path, f"{path}.old")
        os.symlink(f"{path}.old", path)

    def flip(path):
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 0x10]))

    spoils = {"flip": flip, "cut": cut, "empty": lambda path: os.truncate(path, 0), "gone": os.unlink, "link": link,
              "long": lambda path: os.truncate(path, 0x20000)}
    with saved_bench(4 * MB) as (bench, _):
        board = bench.board
        damaged = with_areas(board.flash(), [(CONFIG, noise(CONFIG, 1)), (NVS, noise(NVS, 2))])
        change(bench, board, damaged)
        name = backups(bench)[0][1]
        folder = bench.state / "backup" / mac_of(0).replace(":", "") / name
        begins = board.begins()
        for part in PARTS:
            whole = (folder / f"{part}.bin").read_bytes()
            for word, spoil in spoils.items():
                spoil(folder / f"{part}.bin")
                job = restore(bench, board.port, name, code=1, error="BackupInvalid")
                assert part in job["error-text"] and name in job["error-text"], (word, job)
                (folder / f"{part}.bin").unlink(missing_ok=True)
                (folder / f"{part}.bin").write_bytes(whole)
        flip(folder / "config.bin")
        out = bench.ctl("backup", "export", mac_of(0), "-o", bench.folder)
        assert out.code == 1 and "config.bin" in out.err and "damaged" in out.err, out
        flip(folder / "config.bin")
        assert board.begins() == begins and same(board.flash(), damaged)
        # One of a wipyd that kept no digests.
        (folder / "SHA256SUMS").unlink()
        restore(bench, board.port, name)
        assert f"{name} was saved before wipyd kept digests" in bench.log()


@takes(2)
def test_export_gives_the_same_bytes():
    with saved_bench(8 * MB) as (bench, (before,)):
        out = bench.folder / "out"
        out.mkdir()
        told = bench.ctl("backup", "export", mac_of(0), "-o", out, "--json")
        assert told.code == 0, told
        (_, name, parts), = backups(bench)
        folder = out / f"{mac_of(0).replace(':', '')}-{name}"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {f"{p}.bin": d for p, d in parts.items()}
        assert (parts["config"], parts["nvs"]) == own(before)


class DiskBench(Bench):
    """The state directory is on a file system of its own."""

    def __init__(self, disk, *arguments, **options):
        super().__init__(*arguments, **options)
        self.disk = disk

    def write_config(self, more=""):
        self.state = self.disk / "state"
        super().write_config(more)

    def fill(self):
        stat = os.statvfs(self.disk)
        with open(self.disk / "filler", "wb") as file, contextlib.suppress(OSError):
            file.write(bytes(stat.f_bavail * stat.f_frsize))


@takes(4)
def test_nothing_is_written_where_the_present_state_cannot_be_saved():
    board_ = dict(board_options(0, lived_in(4 * MB, 40)), download=False)
    with small_disk("8m") as disk, saved_bench(bench=DiskBench(disk, [board_], usb=True, config=ASK)) as (bench, (before,)):
        board = bench.board
        name = backups(bench)[0][1]
        damaged = with_areas(board.flash(), [(CONFIG, noise(CONFIG, 1)), (NVS, noise(NVS, 2))])
        change(bench, board, damaged)
        begins = board.begins()
        bench.fill()
        result = bench.ctl("backup", "restore", board.port, name)
        assert result.code == 1 and "can't be saved first" in result.err and "No space left" in result.err, result
        assert board.begins() == begins and same(board.flash(), damaged)
        (disk / "filler").unlink()
        assert len(backups(bench)) == 1
        check_backup_files(bench, 1)
        assert bench.ctl("backup", "restore", board.port, name).code == 0
        assert own(board.flash()) == own(before)
        assert [job["error"] for job in jobs(bench, "restore")] == ["", OURS + "BackupFailed"]
        assert (own(damaged)) == (backups(bench)[0][2]["config"], backups(bench)[0][2]["nvs"])
