/*
 * A store from the command line, for the test that kills it at every step.
 *
 *   store_tool FOLDER add FILE [SHA1]      as if a server had promised that SHA-1
 *   store_tool FOLDER pin|unpin|remove|release|verify SHA256
 *   store_tool FOLDER list                 opens, prints "<sha256> <state> <board> <release>" lines, closes
 *   store_tool FOLDER packages             writes the packages a.tar.gz (WiPy 1.18.1) and b.tar.gz
 * (WiPy 1.20.2.r4)
 *
 * Exit 0: done; 1: a fault, on stdout.
 *
 * STORE_TOOL_PAUSE=open|deed|close in the environment: just before that, prints "ready" and waits for a line.
 */

#include <sys/prctl.h>

#include "tests/unit/test_store_bench.h"

static const char *const STATES[] = {
    [FIRMWARE_GOOD] = "good",
    [FIRMWARE_QUARANTINED] = "quarantined",
    [FIRMWARE_MISSING] = "missing",
};

/* Somebody may want to trace what comes now. */
static void pause_before(const char *step) {
    const char *wanted = getenv("STORE_TOOL_PAUSE");
    char byte;

    if (!wanted || strcmp(wanted, step) != 0)
        return;
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    printf("ready\n");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n')
        ;
}

static int write_packages(const char *folder) {
    static const struct {
        const char *name, *release;
    } PACKAGES[] = { { "a.tar.gz", "1.18.1" }, { "b.tar.gz", "1.20.2.r4" } };

    for (unsigned i = 0; i < 2; i++) {
        struct blob blob = make_package("WiPy", PACKAGES[i].release, i);
        char path[300];

        snprintf(path, sizeof path, "%s/%s", folder, PACKAGES[i].name);
        write_file(path, blob.bytes, blob.size);
        blob_free_p(&blob);
    }
    return 0;
}

static void list(struct bench *bench) {
    const struct firmware_record *record;

    for (unsigned i = 0; (record = firmware_store_at(bench->store, i)); i++)
        printf("%s %s %s %s\n", record->sha256, STATES[record->state], record->board, record->release);
}

static struct answer add_file(struct bench *bench, const char *path, const char *hash) {
    struct firmware_origin origin = { .name = "p.tar.gz", .server_hash = hash };
    struct answer answer = { 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    firmware_store_add(bench->store, fd, (uint64_t)st.st_size, &origin, on_answer, &answer);
    run_until(bench, &answer.n, 1);
    return answer;
}

static struct answer do_verb(struct bench *bench, int argc, char **argv) {
    const char *verb = argv[2], *what = argc > 3 ? argv[3] : "";
    struct answer answer = { 0 };

    if (strcmp(verb, "add") == 0)
        return add_file(bench, what, argc > 4 ? argv[4] : NULL);
    if (strcmp(verb, "pin") == 0)
        return ask_pin(bench, what, true);
    if (strcmp(verb, "unpin") == 0)
        return ask_pin(bench, what, false);
    if (strcmp(verb, "remove") == 0)
        return ask_remove(bench, what, true);
    if (strcmp(verb, "release") == 0)
        return ask_release(bench, what);
    if (strcmp(verb, "verify") == 0)
        return ask_verify(bench, what);
    list(bench);
    return answer;
}

int main(int argc, char **argv) {
    struct fault fault = { 0 };
    struct answer answer;
    struct bench *bench;

    if (argc < 3)
        return 2;
    if (strcmp(argv[2], "packages") == 0)
        return write_packages(argv[1]);
    bench = bench_new(argv[1]);
    pause_before("open");
    if (bench_try_open(bench, &fault)) {
        printf("%s\n", fault.story);
        return 1;
    }
    run_until_idle(bench);
    pause_before("deed");
    answer = do_verb(bench, argc, argv);
    if (answer.fault.code)
        printf("%s\n", answer.fault.story);
    run_until_idle(bench);
    pause_before("close");
    bench_close(bench); /* and leaves the folder as it is */
    return answer.fault.code ? 1 : 0;
}
