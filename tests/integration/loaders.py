"""Which tests run by both loaders, the boot ROM and Espressif's stub: those that interrupt a job, spoil what is sent, or
take the port away. run.py runs each of BOTH a second time as NAME.stub; where `make stub` wasn't run that says SKIP. A test
of LEGACY runs by the stub before v1.2.2, too, where the user has it (WIPYD_STUB_LEGACY).

Under sanitizers and in valgrind each of them runs once, by one or the other loader.

WIPYD_STUB=on has every other test run by the stub, too. A test that names its own loader (Bench(stub=...)) keeps it.
"""
import os
import re
import zlib

# Patterns of names.
BOTH = [
    "test_admission", "test_bus.test_stopped_while_.*", "test_chaos", "test_cut_off", "test_cut_off_by_people", "test_flash",
    "test_guard", "test_interrupted", "test_lease", "test_noise.test_each_slot.*", "test_own_data", "test_rate",
    "test_refusals_connection", "test_refusals_port",
]
LEGACY = [
    r"test_interrupted.test_(unplug|kill|reset|no_reply)_while_(write|save_in_the_middle_of_a_sector)",
    r"test_flash.test_mends_a_(block_refused_for_its_checksum|reply_lost_while_writing|bit_that_falls_over.*)",
    "test_flash.test_cancel_stops_the_job_and_the_client_says_so", "test_guard.test_a_region_that_was_right.*",
]
# Of BOTH, those for one loader, with the reason.
ONE = {
    r"test_(interrupted|cut_off).test_\w+_(load_stub|start_of_the_stub|end_of_a_write)":
        ("stub", "what only a stub has"),
}
# The other files with faults in them, and why one loader is enough.
ELSEWHERE = {
    "test_matrix": "has both", "test_soak": "has both", "test_stub": "is about the stub", "test_sim.*": "no daemon",
    "test_power_loss|test_store_killed|test_firmware_.*|test_hostile_database": "the disk is at fault, no board",
    "test_bus.*|test_authority|test_history|test_standing": "who asks, and what is told: of the same jobs",
    "test_client.*": "what is shown of a job: the same words",
    "test_armed|test_unarmed|test_plug|test_usb_rig": "before a loader is loaded, and after it has gone",
    "test_refusals|test_refusals_call": "refused before a stub is loaded",
    "test_hostile_.*": "what babbles comes as far as no loader",
}


def matches(patterns, name):
    return any(re.fullmatch(f"(?:{pattern})(?:\\..*)?", name) for pattern in patterns)


def loaders_of(name):
    """Of the test "test_flash.test_x": None is the one that the environment says."""
    for pattern, (loader, _) in ONE.items():
        if matches([pattern], name):
            return [loader]
    if not matches(BOTH, name):
        return [None]
    if "1" in (os.environ.get("WIPYD_SAN"), os.environ.get("WIPYD_VALGRIND")):
        return ["stub" if zlib.crc32(name.encode()) % 2 else "rom"]
    return ["rom", "stub", *(["legacy"] if matches(LEGACY, name) else [])]
