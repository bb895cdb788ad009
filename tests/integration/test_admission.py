"""Jobs beyond what USB carries wait in the order of asking, and say so; who waits can be cancelled, unplugged, ended."""
from harness import JOB, MB, Bench, lived_in_flash, takes, wait_for

HUB = "pci-0000:00:11.0-usb-0:2"
SLOTS = "1-2.1", "1-2.2", "1-2.3", "1-3"
# Below the link's time limits. Both together: long enough that one is seen to be under way while others wait.
HOLD = "on=FLASH_BEGIN do=delay-reply,1500", "on=DEFL_BEGIN do=delay-reply,1500"


def usb_bench(config, n=4, download=True):
    flash = lived_in_flash(4 * MB)
    boards = [dict(flash=flash, download=download, options=("--fast", "--mac", f"30:ae:a4:00:01:{i:02x}")) for i in range(n)]
    return Bench(boards, usb=True, connect_timeout=30,
                 config=f"[boards]\npolicy = ask\nsettle = 0\nlisten = 100\nsyncs = 1\n[flash]\n{config}")


def plug_all(bench):
    for board, slot in zip(bench.boards, SLOTS):
        bench.plug(board, slot=slot)
    for board in bench.boards:
        wait_for(lambda board=board: is_known(bench, board), 10, f"{board.port} is known")


def is_known(bench, board):
    return any(path.endswith("/" + board.port)
               for path in bench.bus.call("/org/wipyd1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0])


def begin(bench, package, boards):
    """One after the other: a port that is still being looked at keeps nobody else waiting."""
    jobs = []
    for board in boards:
        jobs.append(bench.start_flash(package, board))
        wait_for(lambda: has_settled(bench.job(jobs[-1])), 10, f"{jobs[-1]} is under way or waits")
    return jobs


def has_settled(job):
    return job["State"] != "queued" or job["WaitsFor"]


def wait_state(bench, path, *states, seconds=10):
    return wait_for(lambda: bench.bus.get(path, JOB, "State") in states, seconds, f"{path} is {' or '.join(states)}")


@takes(8)
def test_a_hub_carries_so_much():
    with usb_bench("usb-budget = 12\n") as bench:  # one at 115200
        plug_all(bench)
        package = bench.package(app_bytes=60_000)
        for hold in HOLD:
            bench.boards[0].fault(hold)
        first, second, third, elsewhere = begin(bench, package, bench.boards)
        wait_state(bench, first, "running")
        wait_state(bench, elsewhere, "running", "done")
        for path in second, third:
            job = bench.job(path)
            assert (job["State"], job["Phase"]) == ("queued", "queued"), job
            assert job["WaitsFor"] == f"The USB hub {HUB} carries as much as it may, 12 KB/s.", job["WaitsFor"]
        shown = bench.ctl("status")
        assert f"{bench.boards[2].port}: The USB hub {HUB} carries" in shown.out, shown

        assert bench.ctl("cancel", second.rsplit("/", 1)[1]).code == 0
        wait_state(bench, second, "cancelled")
        wait_state(bench, third, "running", "done", seconds=30)
        assert bench.job(first)["Phase"] == "done", "two at once"
        assert bench.job(third)["WaitsFor"] == "", bench.job(third)
        for path in first, third, elsewhere:
            assert bench.wait_job(path, 60)["State"] == "done", bench.job(path)
        assert bench.boards[1].begins() == 0, "what was cancelled in the queue has begun"


@takes(6)
def test_who_waits_is_unplugged_and_the_daemon_ends():
    with usb_bench("jobs = 1\n", n=3) as bench:
        plug_all(bench)
        package = bench.package(app_bytes=60_000)
        for hold in HOLD:
            bench.boards[0].fault(hold)
        first, second, third = begin(bench, package, bench.boards)
        wait_state(bench, first, "running")
        assert [bench.job(path)["State"] for path in (second, third)] == ["queued", "queued"], "too quick for this test"
        assert bench.job(third)["WaitsFor"] == "1 job is under way, as many as there may be.", bench.job(third)
        bench.unplug(bench.boards[1])
        wait_state(bench, second, "interrupted")
        assert (bench.job(second)["WaitsFor"], bench.job(third)["State"]) == ("", "queued"), bench.job(third)
        bench.stop_wipyd()
        bench.connection.close()
        bench.connection = None
        bench.start_wipyd()
        # They go on by themselves, one after the other; who is away waits for its board.
        for path in first, third:
            assert bench.wait_job(path, 60)["State"] == "done", bench.job(path)
        assert bench.job(second)["State"] == "interrupted", bench.job(second)


@takes(5)
def test_who_waits_for_a_person_holds_up_nobody():
    with usb_bench("jobs = 1\nusb-budget = 12\n", n=2, download=False) as bench:
        plug_all(bench)
        bench.boards[1].download()
        package = bench.package(app_bytes=60_000)
        stuck, = begin(bench, package, bench.boards[:1])
        wait_state(bench, stuck, "waiting")
        other, = begin(bench, package, bench.boards[1:])
        assert bench.wait_job(other, 30)["State"] == "done", bench.job(other)
        assert bench.job(stuck)["State"] == "waiting", bench.job(stuck)
        bench.boards[0].download()
        assert bench.wait_job(stuck, 30)["State"] == "done", bench.job(stuck)
