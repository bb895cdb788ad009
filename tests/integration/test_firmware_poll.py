"""The daemon asks a real server for firmware, over HTTP and HTTPS on loopback: schedule, sources, conditional requests,
and downloads that break off. What a server may do wrong: test_firmware_bad_server.py."""
import signal
import time

from firmware_bench import OLD, FirmwareBench, folder, int_version, release, release_bytes, side_by_side
from firmware_server import FirmwareServer
from harness import takes, wait_for

NEW = "1.20.1.r1"
NAME = f"WiPy-{NEW}.tar.gz"


def serve(*releases):
    server = FirmwareServer(folder() / "server")
    for version in releases or (NEW,):
        server.add(*release(version))
    return server


def requests_for(server, prefix):
    return [request for request in server.requests if request.path.startswith("/" + prefix)]


# ---- the happy path --------------------------------------------------------------------------------------------------

def poll_at_start_and_flash(port, **keys):
    with serve() as server, FirmwareBench(server, old=False) as bench:
        bench.ask(server.url("good/findupgrade", port), **keys)
        manager = bench.wait_poll(5)
        assert manager["PollResult"] == f"fetched: {NEW}", manager
        assert manager["PollFailures"] == 0 and manager["PollSource"] == server.url("good/findupgrade", port), manager
        [row] = bench.firmware()
        assert row["release"] == row["server_version"] == NEW and row["state"] == "good", row
        assert row["origin"] == server.url(f"good/packages/{NAME}", port), row
        assert NEW in bench.ctl("firmware", "list").out
        assert bench.flash_stored() == NEW
        bench.assert_small()


@takes(3)
def test_empty_store_polls_at_start_over_https_with_an_own_ca():
    poll_at_start_and_flash("https")


@takes(3)
def test_empty_store_polls_at_start_over_plain_http_where_allowed():
    poll_at_start_and_flash("http", ca=False, allow_http="yes")


GOOD_SOURCES = {
    # case: (source, keys)
    "an object": ("good/findupgrade", {}),
    "an array, from key=esp32": ("array/findupgrade?key=esp32", {}),
    "a relative file": ("relative-file/findupgrade", {}),
    "redirected": ("redirect/findupgrade", {}),
    "redirected to the package": ("redirect-package/findupgrade?redirect=true", {}),
    "redirected to plain HTTP, which is allowed": ("redirect-http/findupgrade", {"allow_http": "yes"}),
    "no hash": ("no-hash/findupgrade", {}),
    "a mirror": ("mirror good/packages/", {}),
    "a mirror without validators": ("mirror no-validators/packages/", {}),
}


@takes(6)
def test_every_kind_of_good_source():
    with serve() as server, FirmwareBench(server) as bench:
        for case, (source, keys) in GOOD_SOURCES.items():
            kind, _, path = source.rpartition(" ")
            bench.ask(f"{kind or 'findupgrade'} {server.url(path)}", **keys)
            assert f"fetched: {NEW}" in bench.refresh_well(), case
            assert bench.releases() == [NEW, OLD], case
            n_packages = sum("/packages/W" in request.path and request.status == 200 for request in server.requests)
            assert f"up to date: {NEW}" in bench.refresh_well(), case
            assert n_packages == sum("/packages/W" in request.path and request.status == 200
                                     for request in server.requests), f"{case}: fetched once more"
            result = bench.ctl("firmware", "remove", NEW)
            assert result.code == 0, (case, result)
        assert bench.flash_stored() == OLD


def test_proxy():
    with serve() as server, FirmwareBench(server, boards=0, old=False) as bench:
        bench.ask(server.url("good/findupgrade"), proxy=server.proxy)
        bench.refresh_well()
        assert server.requests[0].method == "CONNECT", server.requests
        assert bench.releases() == [NEW]
        bench.ask(server.url("good/findupgrade", "http"), proxy=server.proxy, allow_http="yes")
        bench.refresh_well()
        assert server.requests[-1].path.startswith("proxy:http://localhost:"), server.requests


def test_folder_source():
    with FirmwareBench() as bench:
        source = folder()
        (source / NAME).write_bytes(release_bytes(NEW))
        (source / "notes.txt").write_text("no package")
        (source / "WiPy-1.20.9.r1.tar.gz").write_bytes(release_bytes("1.20.9.r1", fault="app-checksum"))
        bench.ask(f"folder file://{source}")
        bench.refresh()
        assert bench.releases() == [NEW, OLD], bench.manager()
        assert bench.flash_stored() == NEW
        n_turns = bench.manager()["PolledAt"]
        bench.refresh()
        assert bench.manager()["PolledAt"] > n_turns
        assert bench.releases() == [NEW, OLD]
        bench.assert_small()


@takes(2)
def test_sources_are_asked_in_order():
    with serve() as server, FirmwareBench(server, boards=0) as bench:
        good = server.url("good/findupgrade")
        bench.ask(server.url("x", "refused"), server.url("404/findupgrade"), server.url("wrong-host", "wrong-host"),
                  server.url("package-404/findupgrade"), good, server.url("never/findupgrade"), allow_http="yes")
        bench.refresh_well()
        manager = bench.manager()
        for word in "refused", "404", "no alternative certificate", f"fetched: {NEW}":
            assert word in manager["PollResult"], (word, manager)
        assert manager["PollSource"] == good and manager["PollFailures"] == 0, manager
        assert server.count("never/") == 0
        assert bench.releases() == [NEW, OLD]
        bench.ask(server.url("404/findupgrade"), f"mirror {server.url('good/packages/')}")
        assert f"fetched: {NEW}" in bench.refresh_well()  # a mirror gives no hash to know it by
        assert f"up to date: {NEW}" in bench.refresh_well()
        bench.assert_small()


def test_version_that_disagrees_with_the_file_name():
    """As Pycom's server really answers: 1.8.0.b1 for WiPy-1.7.10.b1.tar.gz, which is fine. The server's number orders."""
    with serve() as server, FirmwareBench(server) as bench:
        server.add("WiPy-1.7.10.b1.tar.gz", release_bytes("1.7.10.b1"), "1.8.0.b1", 71303297)
        bench.ask(server.url("good/findupgrade"))
        assert "fetched: 1.8.0.b1" in bench.refresh_well()
        row = bench.show("1.7.10.b1")
        assert (row["server_version"], row["order"], row["state"]) == ("1.8.0.b1", 71303297, "good"), row
        table = bench.ctl("firmware", "list").out
        assert "1.7.10.b1" in table and "1.8.0.b1" in table, table
        assert bench.flash_stored("1.8.0.b1") == "1.7.10.b1"
        assert bench.flash_stored() == OLD, "1.18.1.r1 is newer by number"


def test_nothing_new_is_asked_for_conditionally():
    with serve() as server, FirmwareBench(server, boards=0) as bench:
        bench.ask(server.url("conditional/findupgrade"))
        bench.refresh_well()
        for restart in False, True:
            if restart:
                bench.restart()
            server.reset()
            assert f"up to date: {NEW}" in bench.refresh_well()
            [request] = server.requests
            assert request.status == 304 and "If-None-Match" in request.headers, request
        server.add(*release("1.20.2.r4"))
        assert "fetched: 1.20.2.r4" in bench.refresh_well()
        bench.ask(f"mirror {server.url('good/packages/')}")
        bench.refresh_well()
        server.reset()
        bench.refresh_well()
        package = requests_for(server, "good/packages/W")
        assert [request.status for request in package] in ([], [304]), package


def test_package_that_is_gone_is_fetched_again_despite_304():
    with serve() as server, FirmwareBench(server, boards=0) as bench:
        bench.ask(server.url("conditional/findupgrade"))
        bench.refresh_well()
        assert bench.ctl("firmware", "remove", NEW).code == 0
        assert f"fetched: {NEW}" in bench.refresh_well()
        assert bench.releases() == [NEW, OLD]


# ---- when ------------------------------------------------------------------------------------------------------------

@takes(4)
def test_next_poll_is_published_and_kept_over_a_restart():
    with serve() as server, FirmwareBench(server, boards=0) as bench:
        bench.ask(server.url("good/findupgrade"))
        bench.refresh_well()
        before = bench.manager()
        assert 0.89 * 86400e6 <= before["NextPollAt"] - before["PolledAt"] <= 1.11 * 86400e6, before
        server.reset()
        for stop in bench.stop_wipyd, bench.kill_wipyd:
            stop()
            bench.start_wipyd()
            wait_for(lambda: bench.manager()["NextPollAt"], 2, "the next poll")
            after = bench.manager()
            for key in "NextPollAt", "PolledAt", "PollResult", "PollFailures":
                assert after[key] == before[key], (key, after[key], before[key])
        time.sleep(2.2)  # an empty store, or other sources, would have been asked for by now
        assert server.requests == [], server.requests
        assert bench.ctl("status", "--json").json["next_poll_at"]


@takes(9)
def test_suspended_machine_polls_once():
    """Intervals missed, in sleep or switched off, aren't made up for."""
    with serve() as server, FirmwareBench(server, boards=0) as bench:
        bench.ask(server.url("good/findupgrade"), poll_interval=2)
        bench.refresh_well()
        bench.wipyd.send_signal(signal.SIGSTOP)
        time.sleep(4.5)
        server.reset()
        bench.wipyd.send_signal(signal.SIGCONT)
        time.sleep(1.2)
        assert server.count("good/findupgrade") == 1, server.requests
        wait_for(lambda: server.count("good/findupgrade") == 2, 3, "the interval goes on")


@takes(3)
def test_failures_are_counted_and_backed_off_from():
    with serve() as server, FirmwareBench(server, boards=0) as bench:
        bench.ask(server.url("500/findupgrade"))
        for n, minutes in enumerate((15, 30, 60), 1):
            if n == 1:
                bench.first_poll()
            else:
                assert bench.refresh().code == 1
            manager = bench.manager()
            assert manager["PollFailures"] == n, manager
            wait = (manager["NextPollAt"] - manager["PolledAt"]) / 60e6
            assert 0.89 * minutes <= wait <= 1.11 * minutes, (n, wait)
        bench.restart()
        wait_for(lambda: bench.manager()["NextPollAt"], 2, "the next poll")
        assert bench.manager()["PollFailures"] == 3
        bench.ask(server.url("503-long/findupgrade"))
        bench.refresh()
        manager = bench.manager()
        assert manager["NextPollAt"] - manager["PolledAt"] <= 86400e6 + 1e6, "a server can't put us off for ever"


def test_without_a_source_polling_is_off():
    with FirmwareBench(boards=0) as bench:
        assert bench.manager()["PollState"] == "off"
        result = bench.refresh()
        assert result.code == 1 and "asks no sources" in result.err, result
        assert bench.releases() == [OLD]


# ---- downloads that break off ----------------------------------------------------------------------------------------

BREAKS = {
    # case: (does the second request ask for the rest, is that all that comes then)
    "cut-once": (True, True),
    "cut-by-date": (True, True),
    "cut-weak": (None, None),       # a weak ETag is no hold by itself
    "cut-unnamed": (False, False),  # nothing to hold on to
    "cut-changed": (True, False),   # another file: from the beginning
    "no-range": (True, False),      # the server can't
    "cut-mixed": (True, True),      # says that it is the same file, but it isn't: once more, whole
    "wrong-range": (True, True),    # not what was asked for: once more, whole
}


@takes(6)
def test_download_goes_on_after_a_break():
    size = len(release_bytes(NEW))
    with serve() as server, side_by_side(server, BREAKS) as benches:
        for case, bench in benches.items():
            bench.ask(server.url(f"{case}/findupgrade"))
            bench.start_refresh()
        for case, (asks_range, sends_rest) in BREAKS.items():
            bench = benches[case]
            manager = bench.wait_poll()
            assert manager["PollResult"] == f"fetched: {NEW}", (case, manager)
            row = bench.show(NEW)
            assert row["state"] == "good" and row["bytes"] == size, (case, row)
            requests = requests_for(server, f"{case}/packages/")
            if asks_range is not None:
                assert ("Range" in requests[1].headers) == asks_range, (case, requests)
                assert (requests[1].status == 206) == sends_rest, (case, requests)
            if case in ("cut-once", "cut-by-date"):
                assert [request.sent for request in requests] == [size // 2, size - size // 2], (case, requests)
                assert "If-Range" in requests[1].headers, (case, requests)
            assert bench.ctl("firmware", "verify").code == 0, case
            wait_for(lambda b=bench: not b.leftovers(), 2, f"{case}: nothing left over")


@takes(4)
def test_download_goes_on_after_kill_9():
    with serve() as server, FirmwareBench(server, boards=0) as bench:
        data = release_bytes(NEW, app_bytes=900_000)
        server.add(NAME, data, NEW, int_version(NEW))
        bench.ask(server.url("paced/findupgrade"))
        client = bench.start_ctl("firmware", "refresh")
        wait_for(lambda: bench.manager()["FetchedBytes"] > len(data) // 4, 10, "a part of the package")
        manager = bench.manager()
        assert manager["PollState"] == "fetching" and manager["FetchBytes"] == len(data), manager
        bench.kill_wipyd()
        assert client.wait(timeout=10) == 8, "wipyctl tells that the daemon went away"
        assert [name for name in bench.store_files() if name.startswith(".download-")], bench.store_files()
        server.reset()
        bench.start_wipyd()
        assert bench.releases() == [OLD]
        bench.refresh_well()
        [request] = requests_for(server, "paced/packages/")
        start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        assert start >= len(data) // 5 and request.status == 206 and request.sent == len(data) - start, request
        assert bench.releases() == [NEW, OLD]
        assert bench.ctl("firmware", "verify").code == 0
        bench.assert_small()


@takes(4)
def test_daemon_ends_politely_in_a_download():
    with serve() as server, FirmwareBench(server, boards=0) as bench:
        server.add(NAME, release_bytes(NEW, app_bytes=900_000), NEW, int_version(NEW))
        bench.ask(server.url("paced/findupgrade"))
        bench.start_ctl("firmware", "refresh")
        wait_for(lambda: bench.manager()["FetchedBytes"], 10, "a part of the package")
        bench.stop_wipyd(seconds=2)
        server.reset()
        bench.start_wipyd()
        bench.refresh_well()
        assert "Range" in requests_for(server, "paced/packages/")[0].headers
        assert bench.releases() == [NEW, OLD]
