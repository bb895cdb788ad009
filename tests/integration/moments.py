"""The phases of a job, and how a test gets a job to be in one of them: the simulator holds it there by answering late.

The phases are read from proto/phase.h: a new one fails test_interrupted.test_every_phase_has_a_moment until it stands
in MOMENTS, or in NO_MOMENT with the reason.
"""
import packages
import harness
from harness import CONFIG, FINAL, JOB, MB, OURS, lived_in_flash, wait_for

BAUD = 230400  # a rate to climb to, so that raise-baud and finish have something to do
HOLD_MS = 400  # below every time limit of the link but SYNC's


class Stage:
    """Held at the nth OP; nth may depend on what the dry run counted."""

    def __init__(self, op, nth=1):
        self.op, self.nth = op, nth

    def fault(self, counts, action, before=0):
        nth = self.nth(counts) if callable(self.nth) else self.nth
        return f"on={self.op},nth={before + nth} do={action}"


class Moment:
    """by_stub: the stages, where they are others by the stub."""

    def __init__(self, phase, *stages, n_written=0, mid_frame=False, by_stub=()):
        self.phase, self.stages, self.n_written, self.mid_frame = phase, stages, n_written, mid_frame
        self.by_stub = by_stub or stages


# At the third piece two are verified already, and one more is an erased one.
MOMENTS = {
    "prepare": Moment("prepare"),
    "sync": Moment("sync"),
    "identify": Moment("identify", Stage("READ_REG", 5)),
    "load_stub": Moment("load-stub", by_stub=[Stage("MEM_DATA", 2)]),
    "start_of_the_stub": Moment("load-stub", by_stub=[Stage("MEM_END")]),
    "plan": Moment("plan", Stage("READ_FLASH_SLOW", 2), by_stub=[Stage("READ_FLASH", 3)]),
    "raise_baud": Moment("raise-baud", Stage("CHANGE_BAUDRATE")),
    "compare": Moment("compare", Stage("MD5", 4)),
    "save": Moment("save", Stage("MD5", lambda counts: counts["MD5"] + 1)),
    "save_in_the_middle_of_a_sector": Moment("save", Stage("READ_FLASH_SLOW", lambda counts: counts["READ_FLASH_SLOW"] + 20),
                                             by_stub=[Stage("READ_FLASH", lambda counts: counts["READ_FLASH"] + 4)]),
    "begin_of_an_erase": Moment("begin", Stage("FLASH_BEGIN"), by_stub=[Stage("ERASE_REGION")]),
    "begin": Moment("begin", Stage("DEFL_BEGIN", 3), n_written=2),
    "write": Moment("write", Stage("DEFL_BEGIN", 3), Stage("DEFL_DATA", 3), n_written=2),
    "write_in_the_middle_of_a_frame": Moment("write", Stage("DEFL_BEGIN", 3), Stage("DEFL_DATA", 2), n_written=2, mid_frame=True),
    "end_of_a_write": Moment("write", by_stub=[Stage("DEFL_BEGIN", 3), Stage("DEFL_END")], n_written=2),
    "verify": Moment("verify", Stage("DEFL_BEGIN", 3), Stage("MD5"), n_written=2),
    "guard_check": Moment("guard-check", Stage("DEFL_BEGIN", lambda counts: counts["differ"]), Stage("MD5", 2), n_written=4,
                          by_stub=[Stage("DEFL_END", 3), Stage("MD5", 3)]),
    "finish": Moment("finish", Stage("CHANGE_BAUDRATE", 2), n_written=4),
}
NO_MOMENT = {
    "queued": "a job leaves it in the same turn of the loop: see test_cancel_right_behind_the_call",
    "open": "opening a pty is one system call",
    "reset": "a pty has no DTR and RTS: passed in no time; tests/vm has lines",
    "protect": "decides on what identify has read: no byte on the wire",
    "boot-check": "a pty has no DTR and RTS: passed in no time; tests/vm has lines",
    "done": "the job is over",
}


class Scene:
    """One board that was in use, one package, one job in one moment. Who makes one gives it a bench, and a start(), which
    leaves the job's path."""

    bench = path = first = None
    flash_bytes = 4 * MB

    def __init__(self, moment):
        self.moment = moment
        self.before = lived_in_flash(self.flash_bytes)
        self.counts = {}   # what comes before the first write, by a dry run
        self.earlier = {}  # what comes before the job, once start() is called
        self.killed = False
        self.stages = moment.stages if harness.default_stub == "off" else moment.by_stub

    def __enter__(self):
        try:
            self.set_up()
        except BaseException as problem:
            self.__exit__(type(problem), problem, None)
            raise
        return self

    def __exit__(self, *problem):
        if self.bench:
            self.bench.__exit__(*problem)

    def make_package(self, app_bytes=200_000):
        # A large one takes a while to unpack.
        self.package = self.bench.package(app_bytes=1_700_000 if self.moment.phase == "prepare" else app_bytes)
        self.wanted = packages.expected_flash(self.package, self.flash_bytes, self.before)

    def rehearse(self):
        earlier = self.bench.board.status()["commands"]
        job = self.bench.flash_well(self.package, dry_run=True, baud=BAUD)
        now = self.bench.board.status()["commands"]
        self.counts = {op: now[op] - earlier.get(op, 0) for op in now}
        self.bench.board.download()  # a stub that was left would not be loaded
        self.counts["differ"] = sum(region[2] == "write" and region[4] == "differs" for region in job["Regions"])

    # ---- to the moment ----
    def struck(self):
        wait_for(lambda: self.bench.board.status()["faults_pending"] == 0, 10, f"{self.moment.phase} is reached")

    def begin_sync(self):
        """Starts the job so that it finds nobody."""
        raise NotImplementedError

    def reach(self, action):
        """Starts the job; when this comes back, action has happened to the last stage's reply."""
        board = self.bench.board
        if self.moment.phase == "sync":
            self.begin_sync()
            return
        for i, stage in enumerate(self.stages):
            what = action if i == len(self.stages) - 1 else f"delay-reply,{HOLD_MS}"
            board.fault(stage.fault(self.counts, what, self.earlier.get(stage.op, 0) if i == 0 else 0))
            if i == 0:
                self.start()
            self.struck()
        if not self.stages:
            self.start()

    def strike_mid_frame(self, action):
        """The simulator strikes by itself when half of a block is in."""
        board, stages = self.bench.board, self.stages
        board.fault(stages[0].fault(self.counts, f"delay-reply,{HOLD_MS}", self.earlier.get(stages[0].op, 0)))
        self.start()
        self.struck()
        self.first = self.bench.job(self.path)
        board.fault(f"on=DEFL_DATA,nth={stages[1].nth},moment=mid-frame do={action}")
        self.struck()

    def check_phase(self):
        if not self.stages:
            wait_for(lambda: self.bench.bus.get(self.path, JOB, "Phase") == self.moment.phase, 10, self.moment.phase)
        job = self.bench.job(self.path)
        assert job["Phase"] == self.moment.phase, f"in {job['Phase']}, not in {self.moment.phase}"
        assert job["State"] in ("running", "waiting"), job["State"]
        self.first = job
        written = sum(region[4] == "written" for region in job["Regions"])
        assert written >= self.moment.n_written, f"{written} regions are written"

    # ---- afterwards ----
    def check_end(self, state, error=""):
        job = self.bench.wait_job(self.path)
        assert (job["State"], job["Error"]) == (state, OURS + error if error else ""), \
            (job["State"], job["Phase"], job["Error"], job["ErrorText"])
        assert job["Phase"] == self.moment.phase, job["Phase"]
        assert not error or job["ErrorText"], "a story"
        assert self.bench.device()["Job"] == "/"
        self.first = job
        return job

    def wait_interrupted(self):
        wait_for(lambda: self.bench.bus.get(self.path, JOB, "State") in ("interrupted", *FINAL), 10, "the job is cut off")
        job = self.bench.job(self.path)
        assert job["State"] == "interrupted" and job["Device"] == "/", (job["State"], job["Device"], job["ErrorText"])
        assert job["Error"].endswith(("PortGone", "ShuttingDown")) and "Plug the board in" in job["UserAction"], job
        assert job["FinishedAt"] == 0 and len(job["Attempts"]) == job["Attempt"], job
        if job["Regions"]:
            self.first = job
        return job

    def check_flash_so_far(self):
        self.bench.board.wait("busy", False)  # what the chip had begun, it finishes
        now = self.bench.board.flash()
        assert now[CONFIG] == self.before[CONFIG], "the config block has changed"
        assert now[0x9000:0x10000] == self.before[0x9000:0x10000], "NVS has changed"
        assert now[0x380000:0x3FF000] == self.before[0x380000:0x3FF000], "the file system has changed"
        return now

    def check_sent_what_was_wrong(self, job, now):
        """Of what the flash held then, job has sent what isn't right, nothing else; and now all is right."""
        done_before = {region[:2] for region in self.first["Regions"] if region[4] == "written"}
        wrong = 0
        assert job["Regions"]
        for offset, size, _, name, state in job["Regions"]:
            is_right = now[offset:offset + size] == self.wanted[offset:offset + size]
            assert state == ("equal" if is_right else "written"), (hex(offset), name, state, is_right)
            assert is_right or (offset, size) not in done_before, f"0x{offset:x} was verified once"
            wrong += 0 if is_right else size
        assert job["BytesTotal"] == job["BytesDone"] == wrong, (job["BytesTotal"], wrong)
        assert self.bench.board.flash() == self.wanted
        backups = list(self.bench.state.glob("backup/30aea4010203/*/config.bin"))
        assert backups or not wrong, "nothing was saved"
        for saved in backups:
            assert saved.read_bytes() == self.before[CONFIG]
        left = [path.name for path in self.bench.state.glob("backup/30aea4010203/.*")]
        assert not left or self.killed, f"half a backup: {left}"

    def check_went_on(self, now, *reasons):
        """The same job, by itself, to its end: cut off once a reason, each of which holds those words."""
        job = self.bench.wait_job(self.path)
        assert job["State"] == "done", (job["State"], job["Phase"], job["Error"], job["ErrorText"])
        assert job["Attempt"] == len(reasons) + 1 and len(job["Attempts"]) == len(reasons), job["Attempts"]
        for i, (number, ended_us, reason) in enumerate(job["Attempts"]):
            assert number == i + 1 and job["StartedAt"] <= ended_us <= job["FinishedAt"], job
            assert reasons[i] in reason, (reason, reasons[i])
        self.check_sent_what_was_wrong(job, now)
        spool = self.bench.state / "spool"
        wait_for(lambda: not list(spool.iterdir()), 5, "the spool is empty")
        return job
